"""Choosing, planning and starting a restore or a download."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from backups.selectors import neighbours, snapshots_visible
from panel.accounts.models import Account
from panel.core.errors import Conflict, Invalid, PanelError
from panel.options.selectors import number, option
from restores.basket import Basket
from restores.choosing import COMPONENTS, Part, cleaned, narrowed, whole_component
from restores.conditions import condition_mark, conditions_for
from restores.models import ArchiveFormat, Overwrite, PackageChoice, Restore, Target
from restores.packages import may_bring_package
from restores.services import (
    RestoreRequest,
    by_repository,
    download_request,
    restore_request,
    restore_undo,
    undo_parts,
)
from restores.shape import PlanShown, added, empty_plan
from worker.asking import ask

DOWNLOAD = "download"
_LISTED = 200
_CHOSEN = ("overwrite", "folder", "format", "mirror", "exact", "single", "package")


def wizard(request: HttpRequest) -> HttpResponse:
    """Go to the newest restore point, or to the list of them where there are several accounts."""
    newest = snapshots_visible(request.user).filter(damaged_at=None).exclude(kind="safety").first()
    accounts = Account.objects.visible_to(request.user).count()
    if newest is None or accounts != 1 or newest.account_id is None:
        return redirect("backups:snapshot_list")
    return redirect("restores:restore_new", newest.pk)


def restore_new(request: HttpRequest, number: int) -> HttpResponse:
    """Plan and start a restore of components or paths of one restore point."""
    snapshot = get_object_or_404(snapshots_visible(request.user), pk=number)
    if snapshot.account is None:
        raise Http404
    older, newer = neighbours(snapshot, request.user)

    def choice(given: QueryDict) -> list[Part]:
        paths = _chosen(given, snapshot, in_place=_target(given) == Target.IN_PLACE, by_admin=request.user.is_admin)
        return [Part(snapshot, cleaned(narrowed(paths, snapshot.account)))] if paths else []

    packages = PackageChoice.choices if request.user.is_admin and may_bring_package(snapshot) else ()
    context = {
        "snapshot": snapshot, "older": older, "newer": newer, "cards": _cards(request, snapshot), "packages": packages
    }  # fmt: skip
    return _page(request, snapshot.account, choice, context)


def restore_basket(request: HttpRequest) -> HttpResponse:
    """Plan and start a restore of what is in the basket."""
    basket = Basket(request.session, request.user)
    account = basket.account
    if account is None:
        return redirect("restores:basket")
    context = {"basket_items": basket.items()}
    return _page(request, account, lambda _: basket.parts(), context, done=basket.clear)


def restore_back(request: HttpRequest, number: int) -> HttpResponse:
    """Show what an undo would do, or start it."""
    restore = get_object_or_404(
        Restore.objects.visible_to(request.user).select_related("safety__repository", "job", "account"), pk=number
    )
    if request.method != "POST":
        plan: PlanShown = empty_plan()
        error: PanelError | None = None
        try:
            if restore.safety is None or restore.safety.removed_at is not None:
                raise Conflict("There is no safety snapshot of this restore any more.")
            how = {"target": Target.IN_PLACE, "folder": "", "overwrite": Overwrite.ALWAYS, "mirror": False}
            plan = _compared(request, undo_parts(restore), how | {"undo": restore.safety_whole})
        except PanelError as problem:
            error = problem
        return render(request, "restores/restore_undo.html", {"restore": restore, "plan": plan, "error": error})
    try:
        undo = restore_undo(restore, actor=request.user)
    except PanelError as error:
        messages.error(request, str(error))
        return redirect("worker:job_detail", restore.job_id)
    messages.info(request, "The undo starts.")
    return redirect("worker:job_detail", undo.job_id)


def _page(
    request: HttpRequest,
    account: Account,
    choice: Callable[[QueryDict], list[Part]],
    context: dict[str, Any],
    *,
    done: Callable[[], None] = lambda: None,
) -> HttpResponse:
    given = request.POST if request.method == "POST" else request.GET
    context |= _options(request, given, account)
    try:
        parts = context["parts"] = choice(given)
        if request.method == "POST":
            response = _started(request, given, parts, account)
            done()
            return response
        if given.get("part") == "plan":
            return render(request, "restores/restore_new.html#plan", context | _plan(request, given, parts))
        return render(request, "restores/restore_new.html", context)
    except PanelError as error:
        if given.get("part") == "plan":
            return render(request, "restores/restore_new.html#plan", context | {"plan_error": error})
        return render(request, "restores/restore_new.html", context | {"error": error}, status=error.status)


def _started(request: HttpRequest, given: QueryDict, parts: list[Part], account: Account) -> HttpResponse:
    key, target = given.get("token", "")[:40], _target(given)
    if target == DOWNLOAD:
        made = download_request(parts, given.get("format", ""), actor=request.user, request_key=key)
        messages.info(request, f"“{made[0].name}” is being built. You can leave this page.")
        return redirect("restores:download_list")
    if target == Target.IN_PLACE and not given.get("safety") and not given.get("accept"):
        raise Invalid("Without a safety snapshot there is no undo. Tick that you know this, or switch it on.")
    mirror = bool(given.get("mirror")) and target == Target.IN_PLACE
    if mirror and given.get("confirm", "").strip() != account.name:
        raise Invalid(f"Files will be deleted. Type {account.name} to confirm.")
    wanted = RestoreRequest(
        parts,
        target=target,
        folder=given.get("folder", "").strip(),
        overwrite=given.get("overwrite", ""),
        mirror=mirror,
        exact=bool(given.get("exact")),
        safety=bool(given.get("safety")),
        package=given.get("package") or PackageChoice.LIVE,
        request_key=key,
        accepted=frozenset() if request.behind else frozenset(given.getlist("condition")),
    )
    restores = restore_request(wanted, actor=request.user)
    messages.info(request, "The restore starts. You can leave this page.")
    if len(restores) > 1:
        return redirect(reverse("backups:history") + "?kind=restore")
    return redirect("worker:job_detail", restores[0].job_id)


def _plan(request: HttpRequest, given: QueryDict, parts: list[Part]) -> dict[str, Any]:
    if not parts:
        return {"nothing": True}
    target = _target(given)
    if target == DOWNLOAD:
        return {"is_download": True}
    overwrite = given.get("overwrite") if given.get("overwrite") in Overwrite.values else Overwrite.IF_DIFFERENT
    how = {
        "target": target,
        "folder": given.get("folder", "").strip() or f"restored-{secrets.token_hex(8)}",
        "overwrite": Overwrite.NEVER if target == Target.FOLDER else overwrite,
        "mirror": bool(given.get("mirror")) and target == Target.IN_PLACE,
    }
    return {"plan": _compared(request, parts, how)}


def _compared(request: HttpRequest, parts: list[Part], how: dict[str, Any]) -> PlanShown:
    """Ask the engine for a dry run and return its figures.  PanelError."""
    answers: list[dict[str, Any]] = []
    for _, mine in by_repository(parts):
        stored = [part.stored() for part in mine]
        answer = ask(
            "plan", user=request.user, session_key=request.session.session_key, wait=25,
            snapshot=mine[0].snapshot.pk, parts=stored, count=_LISTED, **how,
        )  # fmt: skip
        answers += answer["parts"]
    return added(answers)


def _options(request: HttpRequest, given: QueryDict, account: Account) -> dict[str, Any]:
    return {
        "account": account,
        "paths": [path for path in given.getlist("path") if path],
        "target": _target(given),
        "overwrites": Overwrite.choices,
        "formats": ArchiveFormat.choices,
        "chosen": {name: given.get(name, "") for name in _CHOSEN}
        | {"overwrite": given.get("overwrite") or Overwrite.IF_DIFFERENT, "components": given.getlist("component")},
        "safety": bool(given.get("safety")) if given.get("token") else option("safety_snapshot"),
        "safety_days": number("safety_days"),
        "download_days": number("download_days"),
        "token": given.get("token") or secrets.token_urlsafe(12),
        "conditions": [
            {"mark": condition_mark(one), "text": one.text, "ticked": condition_mark(one) in given.getlist("condition")}
            for one in conditions_for(request.user)
        ],
        "acts": bool(request.behind),
        "may_restore": request.user.is_admin or account.package.may_restore,
        "may_download": request.user.is_admin or account.package.may_download,
    }


def _target(given: QueryDict) -> str:
    target = given.get("target", "")
    return target if target in (*Target.values, DOWNLOAD) else Target.IN_PLACE


def _chosen(given: QueryDict, snapshot: Any, *, in_place: bool, by_admin: bool) -> list[str]:
    """Return the paths that a form chose: single ones, components, or everything that can go where it shall."""
    paths = [path for path in [*given.getlist("path"), given.get("single", "").strip().lstrip("/")] if path]
    components = [code for code in given.getlist("component") if code in snapshot.components]
    if "everything" in given.getlist("component"):
        components = [code for code in snapshot.components if not in_place or by_admin or code == "web"]
    if given.get("single", "").strip().startswith("/"):
        paths[-1] = "web/" + paths[-1]
    return paths + [whole_component(snapshot, code) for code in components if code in COMPONENTS]


def _cards(request: HttpRequest, snapshot: Any) -> list[dict[str, Any]]:
    """Return the cards of a restore point (REC-02 to REC-07): those of its scope can be chosen."""
    found = [
        {
            "code": "everything", "icon": "stack-2", "title": "Everything", "about": "All data of this restore point",
            "there": snapshot.scope == "full", "why": "Only of a full backup",
        }
    ]  # fmt: skip
    icons = {"web": "world", "databases": "database", "mail": "mail", "ssl": "certificate", "config": "settings-2"}
    for code, (_, title, about) in COMPONENTS.items():
        there = code in snapshot.components
        if code == "config" and not request.user.is_admin:
            about = "Into another folder, or as a download"
        found.append(
            {"code": code, "icon": icons[code], "title": title, "about": about, "there": there,
             "why": "Not in this restore point"}
        )  # fmt: skip
    return found
