"""Which code points Go's ``strconv.IsPrint`` calls printable, frozen.

The answer is part of the repository format: it decides how a name is spelled in a tree, hence the tree's id.  It must
not follow the Unicode version of whatever interpreter runs the engine, so the table is carried here: every code point
where the answer changes, starting with "not printable" at U+0000, as distances in LEB128, deflated, base 85.
"""

from __future__ import annotations

import base64
import functools
import zlib
from bisect import bisect_right

NEWEST = 15
"""The Unicode version of the Go toolchains that build current restic."""

# Letters, marks, numbers, punctuation, symbols and U+0020 in Unicode 15.0.
_BOUNDARIES = (
    "c-mD|OK4qH6m{*h&*z?d-@SRs%X=^HpO8=cUOr9JCTS95Yi&$F7Ny!+lvc2{paVN72#Q5Yu>-3hih_b776%TbPSh4GMf`wO=%5w{Dn&#`ild"
    "@4_j#eB=ic+(XRrOaYv0>ihldh;t;w(jP{4}{qqLC}=3JFczKF}f23n+}=^{;2h8h8}ZbrNC4&aEW2vJl_k*wK)37Q5(-|(7@!Xrvr_DaDrV"
    "Dnxfg2I|ylb5w3WK4;*vc82IWC2%M)y3`g1S23UmjO}&s1nxUL<C6tbxyQP=%IklmI5j<d0XtB`+&D5F(f)-HwhXu2>$j^Mdn^r7T-Wtt{Ji"
    "7j3<>WaD61$)F{hXA}ynZCvL4`n8z@T47rgnyEo|XfF07wv|jq)zq<@uWZX_IRWbX;h37PC>Yyz~<*3kggpxz#jW;P`bI^A5if<y}grVA`<8"
    "iK-SS`~w)F}?Ps5yO)n!*XUq%yT+I~2Q)evJirRJy}jYtm-%E+vCL`7Tku?56TWRpiuQHkh3Szpe-3{#R3K;YZRF-4Nz2rRB)t|If*x3JxaM"
    "QAzY2*iXlF2ZwNfGKJrNftrhcpu#6`S0u?H59LMW&AeN2i8&EB)Lz6qh`A^wPshqNZ^T2>wXnn|CFpYpk`hm!zVi>F$470Vbp;{Gfj-ane5z"
    ">HqSZDt=mWFH8So{jE{2dmP;x{GDk2pcQ9AUDRy?5|lo&BJc?xwkoz-|aYUqw`V1(25TM(PWJk0CdrZ|!O1h&O%^Y)J^DtcEoXd~JoOu@L24"
    "OGIai#CV}J*cW0Tj#kz8)fI@%hgG-w~^i28sj9IRduTBisi)KyK`<PH)AKAe~+31sEBrVT)S8qtrbeqUU6y}IyYdw*^FK{7CnMO+>5E@E@Q-"
    ">*eq&q_`fwFypx&;jMr9ps$amv(2Z5GfLR(H+7Ww`>sv5>wn`b7E@0`%zQjo)ohUb?7?a4aIGUumy6X1jc3OW^7(ap3*Huewq&tI^aTSsuId"
    "6>2BhroaAJKr#W4)^FN47EdrhV*5==gJdQ+PCY-t`pUZ+^uWwqIb|gy;L<O@oYI@m}2S*L~;pLq~V>7MtIyV@m&;a@V7F^xF>Z2KBBKM_pn{"
    "*_~CVd!Nub6<MjT8^e=SicT!ugdd|_?s)&o(}kpv9Eb+a-~rqnel6k0gQQ!K+oZgl%r!}!ut$h-jp!WFC7o$xS6$PX??jxZZXWgWAdXKcVI<"
    "RKYUUR-uB!I0+KRT&2w#AD*6(4FzHIK=bNgp<Toplhy{x5~wF#kgyXUuB*oDBjd%+{Gl{l2&L@&`eA4xKaHp7Vj0Q2?SI7d=#<_&yrIj?f+D"
    "L!nZ<g<k5CHw1KgJ|zHN>U0bnS^zzC`9%ZU~a@e?{0ict&1)56X?`L`r*Rc<+u3f_{ylh(YkuE^C$iR1P+a4"
)

# What 14.0 and 15.0 added to 13.0; nothing was taken away.
_SINCE_13 = (
    "61D 870-88E 898-89F 8B5 8C8-8D2 C3C C5D CDD CF3 ECE 170D 1715 171F 180F 1AC1-1ACE 1B4C 1B7D-1B7E 1DFA "
    "20C0 2C2F 2C5F 2E53-2E5D 9FFD-9FFF A7C0-A7C1 A7D0-A7D1 A7D3 A7D5-A7D9 A7F2-A7F4 FBC2 FD40-FD4F FDCF "
    "FDFE-FDFF 10570-1057A 1057C-1058A 1058C-10592 10594-10595 10597-105A1 105A3-105B1 105B3-105B9 "
    "105BB-105BC 10780-10785 10787-107B0 107B2-107BA 10EFD-10EFF 10F70-10F89 11070-11075 110C2 1123F-11241 "
    "116B9 11740-11746 11AB0-11ABF 11B00-11B09 11F00-11F10 11F12-11F3A 11F3E-11F59 12F90-12FF2 1342F "
    "13440-13455 16A70-16ABE 16AC0-16AC9 1AFF0-1AFF3 1AFF5-1AFFB 1AFFD-1AFFE 1B11F-1B122 1B132 1B155 "
    "1CF00-1CF2D 1CF30-1CF46 1CF50-1CFC3 1D1E9-1D1EA 1D2C0-1D2D3 1DF00-1DF1E 1DF25-1DF2A 1E030-1E06D 1E08F "
    "1E290-1E2AE 1E4D0-1E4F9 1E7E0-1E7E6 1E7E8-1E7EB 1E7ED-1E7EE 1E7F0-1E7FE 1F6DC-1F6DF 1F774-1F776 "
    "1F77B-1F77F 1F7D9 1F7F0 1F979 1F9CC 1FA75-1FA77 1FA7B-1FA7C 1FA87-1FA88 1FAA9-1FAAF 1FAB7-1FABD 1FABF "
    "1FAC3-1FAC5 1FACE-1FACF 1FAD7-1FADB 1FAE0-1FAE8 1FAF0-1FAF8 2A6DE-2A6DF 2B735-2B739 31350-323AF"
)


def _distances(packed: bytes) -> list[int]:
    values, value, shift = [], 0, 0
    for byte in packed:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            values.append(value)
            value = shift = 0
    return values


@functools.cache
def _boundaries() -> list[int]:
    total, boundaries = 0, []
    for distance in _distances(zlib.decompress(base64.b85decode(_BOUNDARIES))):
        total += distance
        boundaries.append(total)
    return boundaries


@functools.cache
def _since_13() -> frozenset[int]:
    added: set[int] = set()
    for span in _SINCE_13.split():
        first, _, last = span.partition("-")
        added.update(range(int(first, 16), int(last or first, 16) + 1))
    return frozenset(added)


def is_printable(code_point: int, unicode_version: int = NEWEST) -> bool:
    """Whether a name shows this code point as itself.  ``unicode_version`` is 15 (Go 1.21 and newer) or 13."""
    if bisect_right(_boundaries(), code_point) % 2:
        return False
    return unicode_version >= NEWEST or code_point not in _since_13()
