"""A complete repository, to the byte: password ``golden``; made once, read by every program of this format.

Its nonces are text and its master key counts up, so that the files can be made again; nothing real does that.
"""

from __future__ import annotations

import base64
from typing import Final

PASSWORD: Final = "golden"
POLYNOMIAL: Final = 0x3DA3358B4DC173

_BASE64: Final = {
    "keys/f5266407c344c74655e9483dcecf789db5c5f9eeae6c835d51f9068e63a31ac2": """
        eyJjcmVhdGVkIjoiMjAyNC0wMS0wMlQwMzowNDowNVoiLCJ1c2VybmFtZSI6InUiLCJob3N0bmFtZSI6ImgiLCJrZGYiOiJzY3J5
        cHQiLCJOIjoxMDI0LCJyIjo4LCJwIjoxLCJzYWx0IjoiQUFFQ0F3UUZCZ2NJQ1FvTERBME9EeEFSRWhNVUZSWVhHQmthR3h3ZEho
        OGdJU0lqSkNVbUp5Z3BLaXNzTFM0dk1ERXlNelExTmpjNE9UbzdQRDArUHc9PSIsImRhdGEiOiJibTl1WTJVd01EQXdNREF3TURB
        d01aR3FIKzlDaUNGME9tSGw3bzZJN0RzU3d2VDVVS1dzbmtOZ2d4SE1KY0U4TS9IM1NOMlR4bGlSL3FmR2lqV3VsVnZSL0F1VEQr
        NDNwc2VsRW50ZnEwK3NiZ0IxSU83czJWanBnaEZ5ZE1rVm9FK1VPc1FhSmlmQ2lJblVjMWJTWGMrb2JVVXdXVTc4a2VRVHJoalJW
        NmlVMGo3T0ZXMXJLMVdCdE1BNE00SUlIVVV1eElBYjU2cDh6dlBJVFluNERBPT0ifQ==
    """,
    "config": """
        bm9uY2UwMDAwMDAwMDAwMkVe/epqzPH79zb0zKL8zQlq3jeipKb3JGRgQYClFZM9RCgQ0dyd+hV0Y/nK5c/uOfHjG35Dawjm3sUj
        e0xYiiHcGW9WYgLhdLEe0XG8srTvZSz3XO+8zJI4aCuVI7hezJhnWkhR8l9tyQZZPU/SwCPh/0ljoBTZrb+oLrsFQcXf0yiztg6o
        OX4IuLw=
    """,
    "data/69/69962c682cc352d5a6c01e6dd14c3a9367333a2581473684f94ff4287447be5e": """
        bm9uY2UwMDAwMDAwMDAwMyCBea374OMkcT8CiuEchyErNVX+WCuCjfEo1ZYnzVwfhG5vbmNlMDAwMDAwMDAwMDQJrQ9PjBuc7RFT
        qcq6xPgu8aBYPR5oToK7JERTbnd1PyMd/4TgbPoxIDtrzNBub25jZTAwMDAwMDAwMDA1lOIrHXOAnkNstG9LQDBWGeDhfLt5ITP+
        S2fc6wirBCUvCFDLFZyS+k0GoPFR5whymq7nZv7URi8Ul61jRJlVUQ3emexDETAxa2XouqdfB1sggUs7CpIFnOfSN8MTwG4AAAA=
    """,
    "data/09/0979001f442da245be0fb789205578c7a5ee1b2d954729ffe5ea3a1000a168dd": """
        bm9uY2UwMDAwMDAwMDAwNpGccMgygYSc2S63Cdj4ss1TAfdy8/aiOQgWulNfRNarrXWl1lOKSBUxtH5VCyUeTve8rM+UbWyC1I4U
        fjp9R+CVCCjCzcFPQMLX6jFZCS7PNIh6APJdSsZDKxlsvhKYvavptHepbXHzZQPyotGHEPpeP7h+p3EzPh0kfIce3DI4AjtrAwht
        NGSRwBhbvgpYFZohNqM9wwyxswNbiZvdHFNnkceOIUclxAXOUzk5F7gYQoJpStWCEFizZAazlSOMARmM+hOtu2r8I5M6DhuJPWGJ
        0ZrjJ/xbdcBge0E4XdJeYEH/kl2Nyg88fh7Bi1CGXNPA1zT5ayMAKjOETMcD6qkVRIithHDlnUF/ANHaRKq83YfIIX7qLf1YlQxo
        uqWhV3u9FRihyw8m+/ov2Bt0VnAlTng8pfkN+Rjyg53RJQj5Zxn2J5Use2ltBzGT1SlF4uvJsFwa7QTsH/7pG3WslkaWwGd+wnJt
        sC94xZT/LG0zVOZIoZ+yzemkzIBOcCyOBEEh4I1zHPLJtQ0b/Qyt3pCplO39g2s91P0LT/EkapGusJXP5Upz10kUQzBCFRwVBSa2
        9ei5jEzfykWlTYlKBONIkAwN0ty5rSSadW5vbmNlMDAwMDAwMDAwMDcDx8Z+w3ur+k3jDx+yTSIC9dKyWPkSsixvyRdBW4ZIAMxx
        XGhxlB+BXtKeMwDeegNX89Ty6SngpqJJAAAA
    """,
    "index/d91b5749204acefe24071620031c93ea6b193a43e81225a98ea276c84bb5f1be": """
        bm9uY2UwMDAwMDAwMDAwOPY2gQjB+wYAFjV7iHH07nCfHSoE2Cj/nqwKjgpmsiBqQLpDXTy7zcjVK+37FQQPhC8LHu2Nxb8ZWTc7
        0ZdoSlPrbdPpIDnOPXoK5Lj3cyMiokUe4Sp/eV1lw6rGjQzILlXpyF/KpjMWp0QuiFuaL4ksFHeJIxlyz+YVA+jQWJxAgh9Qb8AK
        YtB8Jj2CplNaHg+Mjc4qU2UqMa19EN43GjLVXkwZNJT++0m99JvBsSrFVRPHJ8aVb0Ah5vbXplWNi6/K/obzK+/DFZ9sALTVbTJ/
        BjRKyQoch7rdAq3LiiANpSG6nvTY/3yKrBClPbUZ2EPeRz0tja4XiLI7LFxeuIy9lwPTh+j6DilmUwtPGVXVHV/xMtqeYY8mEnP5
        e/rviTV3F3FQ+UG8NwIHInO7Z+pVkRqsVi38ZK/AryRsl4EiUL0md7Mn8ZDFbl7B/3PODx0g4jg2jaZ5HM8=
    """,
    "snapshots/930fca82a322a8e4c15057ecef53c61e97d365d1e98cebac77747931b625ed81": """
        bm9uY2UwMDAwMDAwMDAwOdbvnng5Vzf3iYrx9VldXalZf0MS8nKT22wUpJJtkn7iB70xY2V/aNCtXQXgChmB8Ag+DnbfOh5eveoh
        WmehLx+TyklfGQlyOO9Xnx5CmbyJUdi0J6p4qEbC9IQBz6YWBxLyR+m8anMMGveJA0QyBSN2b8HTssFvyWirxRnzeIMn4RuywzRR
        GV2F9Zwc+dNRnz7Z6HVUHKIIK/udT4R+rabwZC2o8vjVFl75Ls5YCM4II/hxuA1+2qmiqgRpUrZTs/r/ZnQ5PYs=
    """,
}


def golden_objects() -> dict[str, bytes]:
    """The repository as a memory store keeps it."""
    return {key: base64.b64decode("".join(text.split())) for key, text in _BASE64.items()}


HELLO: Final = "8df0c0d7417c533c0eba5d59c8238e2b45b4ef9f493df9847fd6af2f1497b5d6"
"""``hello repository`` and a newline, stored as it is at offset 0."""
COMPRESSED: Final = "26d16eb0d341c24f782effabd66d6f2aa641d919b2bb8766d8abe7efbbc4db22"
"""``compress me `` forty times, stored compressed at offset 49."""
TREE: Final = "e54fefe3aa0ca101cc867fc5898c2d84f56c4f7035bb1018b6773fb5e3f71bd2"
TREE_JSON: Final = (
    r'{"nodes":[{"name":"a\\\"b\\\\c","type":"file","mode":420,"mtime":"2024-01-02T03:04:05Z","atime":'
    r'"2024-01-02T03:04:05Z","ctime":"2024-01-02T03:04:05.12345678Z","uid":1000,"gid":100,"user":"u","'
    r'group":"g","inode":7,"device_id":5,"size":17,"links":1,"content":["8df0c0d7417c533c0eba5d59c8238'
    r'e2b45b4ef9f493df9847fd6af2f1497b5d6"]},{"name":"déjà \u003c1\u003e","type":"file","mode":8389101'
    r',"mtime":"2024-01-02T03:04:05Z","atime":"2024-01-02T03:04:05Z","ctime":"2024-01-02T03:04:05.1234'
    r'5678Z","uid":1000,"gid":100,"user":"u","group":"g","inode":8,"device_id":5,"size":480,"links":2,'
    r'"extended_attributes":[{"name":"user.k","value":"dg=="}],"content":["26d16eb0d341c24f782effabd66'
    r'd6f2aa641d919b2bb8766d8abe7efbbc4db22"]},{"name":"empty","type":"file","mode":384,"mtime":"2024-'
    r'01-02T03:04:05Z","atime":"2024-01-02T03:04:05Z","ctime":"2024-01-02T03:04:05.12345678Z","uid":10'
    r'00,"gid":100,"user":"u","group":"g","inode":9,"device_id":5,"links":1,"content":[]},{"name":"l\\x'
    r'ff","type":"symlink","mode":134218239,"mtime":"2024-01-02T03:04:05Z","atime":"2024-01-02T03:04:0'
    r'5Z","ctime":"2024-01-02T03:04:05.12345678Z","uid":1000,"gid":100,"user":"u","group":"g","inode":'
    r'10,"device_id":5,"links":1,"linktarget":"t\ufffd\u0026","linktarget_raw":"dP8m","content":null}]'
    r"}"
    "\n"
).encode()
