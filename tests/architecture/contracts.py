"""Contract types that take effect as rooms appear.

The checker refuses a contract that names a module which does not exist yet. These types leave such names out, so that
all contracts stand written from the first day. A misspelt name would go unseen: the tests beside this file compare the
names with those that may come.
"""

from grimp import ImportGraph
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.domain.contract import Contract, ContractCheck
from importlinter.domain.imports import ModuleExpression


def keep_existing(contract: Contract, field: str, graph: ImportGraph, internal: tuple[str, ...]) -> bool:
    """Drop the project's own modules that do not exist yet from a field; return whether any name is left."""

    def may_stay(expression: ModuleExpression) -> bool:
        name = expression.expression
        return expression.has_wildcard_expression() or not name.startswith(internal) or name in graph.modules

    kept = {expression for expression in getattr(contract, field) if may_stay(expression)}
    setattr(contract, field, kept)
    return bool(kept)


def roots(contract: Contract) -> tuple[str, ...]:
    return tuple(contract.session_options["root_packages"])


class ForbiddenWherePresent(ForbiddenContract):
    """The checker's forbidden contract over the modules that exist."""

    type_name = "forbidden_where_present"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Keep the contract trivially when it has nobody to bind or nothing to keep from him."""
        sources = keep_existing(self, "source_modules", graph, roots(self))
        forbidden = keep_existing(self, "forbidden_modules", graph, roots(self))
        if not (sources and forbidden):
            return ContractCheck(kept=True)
        return super().check(graph, verbose)


class IndependentWherePresent(IndependenceContract):
    """The checker's independence contract over the modules that exist."""

    type_name = "independent_where_present"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Keep the contract trivially when there is none."""
        if not keep_existing(self, "modules", graph, roots(self)):
            return ContractCheck(kept=True)
        return super().check(graph, verbose)
