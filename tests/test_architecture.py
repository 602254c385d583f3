"""The house rules that a machine can hold: who imports whom, purity, sizes, names, words.

Every rule names what breaks it as `file:line: what`.  A rule that makes code worse is argued
with and changed here, not stepped around.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions, requires
from itertools import chain
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("ioe_node", "zomes", "dna", "discovery", "currency", "sim")
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
MODULE_LINES_MEDIAN_MAX = 150

# Inside ioe_node each layer imports what stands above it, and its own.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("clock", "model", "history"),
    ("hdi",),
    ("hdk",),
    ("core",),
    ("store", "net"),
    ("workflows",),
    ("drivers", "config", "plugins"),
    ("conductor",),
    ("api",),
    ("cli",),
)
# These may import less than their layer would allow.
NARROW = {
    "drivers": ("errors", "clock"),
    **dict.fromkeys(("config", "plugins", "history"), ("errors",)),
}
# What each package may import of the others; `sim`, `tests` and `bench` may import anything.
KIT = ("ioe_node.hdi", "ioe_node.hdk")
NEIGHBOURS: dict[str, tuple[str, ...]] = {
    "ioe_node": (),
    "zomes": ("currency.market", "currency.value", *KIT),
    "currency": KIT,
    "dna": ("zomes", "currency", *KIT),
    "discovery": ("ioe_node.model", "ioe_node.errors", "ioe_node.clock", "ioe_node.net.peer_id"),
}
FENCED = {
    "libp2p": ("ioe_node/net/libp2p_",),
    "sqlite3": ("ioe_node/store/",),
    "sqlite_utils": ("ioe_node/store/", "sim/results.py"),
    "matplotlib": ("sim/plots.py",),
    "pyarrow": ("sim/results.py", "ioe_node/history/parquet.py"),
    "distributed": ("sim/sweep.py",),
    "zeroconf": ("discovery/mdns",),
    **dict.fromkeys(("hypercorn", "starlette", "prometheus_client"), ("ioe_node/api/http_",)),
    "asyncio": (),
}
PURE = (
    "ioe_node/model/",
    "ioe_node/core/",
    "ioe_node/hdi.py",
    *(f"ioe_node/drivers/{name}" for name in ("dsmr_", "feed.py", "ocpp_", "openadr_", "sunspec_")),
    *(f"ioe_node/net/{name}.py" for name in ("messages", "foreign_peers", "framing")),
    *(f"ioe_node/net/{name}.py" for name in ("kad_messages", "peer_id")),
    *("ioe_node/api/http_carbon.py", "ioe_node/api/http_household.py"),
    *("ioe_node/api/conductor_auth.py", "ioe_node/api/conductor_bundle.py"),
    *("ioe_node/api/conductor_frames.py", "ioe_node/api/conductor_requests.py"),
    "ioe_node/api/conductor_signing.py",
    *(f"currency/{name}.py" for name in ("delivery", "fees", "ledger", "limit", "statement")),
    *("currency/value.py", "currency/market/", "currency/traders/"),
    *("discovery/announcement.py", "discovery/hidden.py", "discovery/p", "discovery/rendezvous.py"),
    *("sim/load_rules.py", "zomes/origin/audit.py", "zomes/origin/holdings.py"),
)
PURE_ZOME_HALF = re.compile(r"(zomes/\w+|currency)/integrity\.py")
IMPURE = {"trio", "sqlite3", "sqlite_utils", "socket", "time", "os", "secrets", "threading"}
IMPURE |= {"libp2p", "zeroconf"}
NO_FLOATS = ("ioe_node/model/", "ioe_node/core/", "zomes/", "currency/")
DOCUMENTED = (
    "ioe_node/model/",
    "ioe_node/core/",
    "ioe_node/hdi.py",
    "ioe_node/hdk.py",
    "ioe_node/drivers/",
    "discovery/",
)
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "manager", "base", "common"}
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Module(NamedTuple):
    """A source file: its path from the root, its dotted name, its text and its tree."""

    path: str
    name: str
    text: str
    tree: ast.Module

    def lines(self) -> int:
        return len(self.text.splitlines())

    def at(self, node: ast.AST, what: str) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {what}"

    def within(self, places: Iterable[str]) -> bool:
        return any(self.path.startswith(place) for place in places)


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    found = chain.from_iterable(sorted((ROOT / folder).rglob("*.py")) for folder in folders)
    return tuple(map(read, (path for path in found if "__pycache__" not in path.parts)))


def read(path: Path) -> Module:
    relative = path.relative_to(ROOT)
    parts = relative.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    text = path.read_text("utf-8")
    return Module(relative.as_posix(), name, text, ast.parse(text, relative.as_posix()))


def none(faults: Iterable[str]) -> None:
    """Fail with every fault on a line of its own."""
    found = sorted(set(faults))
    assert not found, "\n" + "\n".join(found)


def product() -> tuple[Module, ...]:
    return modules(*PRODUCT)


def everything() -> tuple[Module, ...]:
    return modules(*PRODUCT, "bench", "tests")


def is_pure(module: Module) -> bool:
    return module.within(PURE) or PURE_ZOME_HALF.fullmatch(module.path) is not None


@cache
def imports(module: Module) -> tuple[tuple[ast.stmt, str], ...]:
    """Every import, wherever it stands, also under TYPE_CHECKING: (statement, dotted target)."""
    known = {one.name for one in product()}
    found: list[tuple[ast.stmt, str]] = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found += [(node, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, module.at(node, "a relative import hides where it leads")
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.append((node, inner if inner in known else str(node.module)))
    return tuple(found)


def under(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def layer_of(part: str) -> int:
    return next((rank for rank, names in enumerate(LAYERS) if part in names), -1)


def part_of(name: str) -> str:
    """`model` of `ioe_node.model.codec`; '' of `ioe_node` itself."""
    return name.split(".")[1] if "." in name else ""


def own_part(module: Module) -> str:
    """A zome may import itself but no other zome; the other packages are one part each."""
    package, _, rest = module.name.partition(".")
    return f"zomes.{rest.partition('.')[0]}" if package == "zomes" and rest else package


def test_packages_meet_only_where_the_architecture_says() -> None:
    faults = [
        module.at(node, f"{module.name} imports {target}")
        for module in product()
        if (allowed := NEIGHBOURS.get(module.name.partition(".")[0])) is not None
        for node, target in imports(module)
        if target.partition(".")[0] in (*PRODUCT, "tests", "bench")
        and not any(under(target, one) for one in (own_part(module), *allowed))
    ]
    none(faults)


def test_nothing_imports_the_tests_or_the_benches() -> None:
    none(
        module.at(node, target)
        for module in modules(*PRODUCT)
        for node, target in imports(module)
        if target.partition(".")[0] in ("tests", "bench")
    )


def test_layers_of_the_node_import_only_lower_ones() -> None:
    faults = []
    for module in modules("ioe_node"):
        part = part_of(module.name)
        if part and layer_of(part) < 0:
            faults.append(module.at(module.tree, f"ioe_node.{part} is in no layer"))
        for node, target in imports(module):
            if not under(target, "ioe_node") or part_of(target) == part:
                continue
            inner = part_of(target)
            narrow = NARROW.get(part)
            lower = inner in narrow if narrow is not None else layer_of(inner) < layer_of(part)
            if not lower:
                faults.append(module.at(node, f"{part or 'ioe_node'} imports {target}"))
    none(faults)


def test_each_foreign_library_stays_behind_its_fence() -> None:
    none(
        module.at(node, target)
        for module in product()
        for node, target in imports(module)
        for library, places in FENCED.items()
        if under(target, library) and not module.within(places)
    )


def distributions_of(requirements: Iterable[str]) -> set[str]:
    """The lower-case names in `requirements`, extras left out."""
    return {
        re.split(r"[^\w.-]", line, maxsplit=1)[0].lower().replace("_", "-")
        for line in requirements
        if "extra ==" not in line
    }


def test_every_library_imported_is_a_declared_dependency() -> None:
    """What py-libp2p is made of may be met where py-libp2p may: its version is pinned."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = distributions_of(project["dependencies"])
    # An extra's library is named as its distribution is, and may not be installed.
    extras = distributions_of(
        line
        for name, lines in project["optional-dependencies"].items()
        if name != "dev"
        for line in lines
    )
    behind = declared | distributions_of(requires("libp2p") or [])
    owners = packages_distributions()
    none(
        module.at(node, f"{target} is of none of the dependencies")
        for module in product()
        for node, target in runtime_imports(module)
        if (root := target.partition(".")[0]) not in {*PRODUCT, *extras, *sys.stdlib_module_names}
        and not {name.lower().replace("_", "-") for name in owners.get(root, [])}
        & (behind if module.within(FENCED["libp2p"]) else declared)
    )


def runtime_imports(module: Module) -> Iterator[tuple[ast.stmt, str]]:
    """The imports that are run: all but those under `if TYPE_CHECKING:`."""
    unrun: set[int] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            unrun |= {id(inner) for inner in ast.walk(node)}
    return ((node, target) for node, target in imports(module) if id(node) not in unrun)


def test_pure_modules_import_nothing_impure() -> None:
    """Nor does anything of ours that they import."""
    by_name = {module.name: module for module in product()}
    faults = []
    for pure in filter(is_pure, product()):
        ways, queue = {pure.name: pure.name}, [pure]
        for module in queue:
            for node, target in runtime_imports(module):
                if target.partition(".")[0] in IMPURE:
                    faults.append(module.at(node, f"{ways[module.name]} imports {target}"))
                if target in by_name and target not in ways:
                    ways[target] = f"{ways[module.name]} > {target}"
                    queue.append(by_name[target])
    none(faults)


def dotted(node: ast.AST) -> str:
    return ast.unparse(node) if isinstance(node, ast.Attribute) else ""


def test_pure_modules_draw_no_global_randomness() -> None:
    faults = []
    for module in filter(is_pure, product()):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and node.module == "random":
                faults += [
                    module.at(node, alias.name) for alias in node.names if alias.name != "Random"
                ]
            elif re.fullmatch(r"random\.(?!Random$)\w+", dotted(node)):
                faults.append(module.at(node, dotted(node)))
    none(faults)


# What a set's order cannot change.
ORDER_FREE = {"sorted", "set", "frozenset", "sum", "any", "all", "len", "min", "max", "bool"}
ORDERED = {"list", "tuple", "iter", "enumerate", "zip", "map", "filter", "reversed", "join"}
SET_METHODS = {"union", "intersection", "difference", "symmetric_difference"}


def is_set(node: ast.AST, names: set[str]) -> bool:
    """Whether an expression is a set for anyone to see: by its form or by its name's binding."""
    if isinstance(node, ast.Name):
        return node.id in names
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor) and (
            is_set(node.left, names) or is_set(node.right, names)
        )
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in SET_METHODS and is_set(node.func.value, names)
    return isinstance(node, ast.Set | ast.SetComp) or called(node) in ("set", "frozenset")


def called(node: ast.AST) -> str:
    """`join` of `"".join(x)`, `list` of `list(x)`; '' of what is no call."""
    if not isinstance(node, ast.Call):
        return ""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def names_of_sets(scope: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and is_set(node.value, names):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
            of = node.target if isinstance(node, ast.AnnAssign) else None
            name = node.arg if isinstance(node, ast.arg) else getattr(of, "id", "")
            if re.match(r"(frozen)?set\b|AbstractSet\b", ast.unparse(node.annotation)):
                names.add(name)
    return names


def iterations_over_sets(tree: ast.AST) -> Iterator[ast.AST]:
    scopes = [node for node in ast.walk(tree) if isinstance(node, Function)]
    for scope in [tree, *scopes]:
        names = names_of_sets(scope) if scope is not tree else set()
        # The generators inside `sorted(...)`, and set comprehensions, do not show an order.
        calls = [node for node in ast.walk(scope) if isinstance(node, ast.Call)]
        free = {id(arg) for call in calls if called(call) in ORDER_FREE for arg in call.args}
        for node in ast.walk(scope):
            if isinstance(node, ast.For | ast.AsyncFor) and is_set(node.iter, names):
                yield node.iter
            elif isinstance(node, ast.ListComp | ast.GeneratorExp | ast.DictComp):
                if id(node) not in free:
                    yield from (g.iter for g in node.generators if is_set(g.iter, names))
            elif isinstance(node, ast.Call) and called(node) in ORDERED and id(node) not in free:
                yield from (arg for arg in node.args if is_set(arg, names))


def test_pure_modules_never_iterate_over_a_set() -> None:
    """Hash order differs between processes; a verdict must not."""
    found = (
        module.at(node, ast.unparse(node))
        for module in filter(is_pure, product())
        for node in iterations_over_sets(module.tree)
    )
    none(found)


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("for x in {1, 2}: pass", True),
        ("def f(a):\n b = set(a)\n return [x for x in b]", True),
        ("def f(a: set[int]):\n return list(a)", True),
        ("def f(a: frozenset[int], b):\n return ''.join(a - b)", True),
        ("def f(a: set[int]):\n return sorted(x + 1 for x in a)", False),
        ("def f(a: list[int]):\n return [x for x in a if x in {1, 2}]", False),
        ("def f(a: set[int]):\n return {x + 1 for x in a}", False),
    ],
)
def test_the_rule_on_sets_sees_what_it_should(source: str, seen: bool) -> None:
    assert bool(list(iterations_over_sets(ast.parse(source)))) is seen


def test_what_is_hashed_or_counted_knows_no_float() -> None:
    """No literal, no annotation, and no `/`, which makes one of two integers."""
    faults = []
    for module in product():
        if not module.within(NO_FLOATS):
            continue
        for node in ast.walk(module.tree):
            literal = isinstance(node, ast.Constant) and isinstance(node.value, float)
            named = isinstance(node, ast.Name) and node.id == "float"
            divided = isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)
            if literal or named or divided:
                faults.append(module.at(node, ast.unparse(node)))
    none(faults)


def test_modules_are_small() -> None:
    sizes = {module.path: module.lines() for module in everything()}
    none(f"{path}: {size} lines" for path, size in sizes.items() if size > MODULE_LINES_MAX)
    ours = [module.lines() for module in product() if not module.path.endswith("__init__.py")]
    print(f"{len(ours)} modules, median {median(ours):g} lines, largest {max(ours)}")
    assert median(ours) <= MODULE_LINES_MEDIAN_MAX


def test_functions_fit_on_a_screen() -> None:
    none(
        module.at(node, f"{node.name} has {size} lines")
        for module in everything()
        for node in ast.walk(module.tree)
        if isinstance(node, Function)
        and (size := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    )


def test_names_say_what_is_inside() -> None:
    none(
        module.path
        for module in everything()
        for part in Path(module.path).with_suffix("").parts
        if EMPTY_NAMES & set(part.split("_"))
    )


def test_nothing_is_left_for_later() -> None:
    texts = [(module.path, module.text) for module in everything()]
    texts += [(name, (ROOT / name).read_text("utf-8")) for name in ("README.md", "pyproject.toml")]
    none(
        f"{path}:{number}: {line.strip()}"
        for path, text in texts
        for number, line in enumerate(text.splitlines(), 1)
        if UNFINISHED.search(line)
    )


def test_every_module_says_what_it_is() -> None:
    programs = modules(*PRODUCT, "bench")
    none(module.path for module in programs if not ast.get_docstring(module.tree))


def public_functions(module: Module) -> Iterator[Function]:
    """Functions of the module and of its public classes whose name has no underscore in front."""
    classes = [
        node
        for node in module.tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    for body in [module.tree.body, *(one.body for one in classes)]:
        for node in body:
            if (
                isinstance(node, Function)
                and not node.name.startswith("_")
                and "overload" not in map(ast.unparse, node.decorator_list)
            ):
                yield node


def test_every_public_function_says_what_it_does() -> None:
    none(
        module.at(node, node.name)
        for module in product()
        if module.within(DOCUMENTED)
        for node in public_functions(module)
        if not ast.get_docstring(node)
    )


def swallows_all(node: ast.AST) -> bool:
    """A bare `except`, or one of everything whose body does nothing, or the same by `suppress`."""
    if isinstance(node, ast.ExceptHandler):
        if node.type is None:
            return True
        idle = all(
            isinstance(one, ast.Pass | ast.Continue)
            or (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
            for one in node.body
        )
        return idle and ast.unparse(node.type) in ("Exception", "BaseException")
    return (
        isinstance(node, ast.Call)
        and called(node) == "suppress"
        and any(ast.unparse(arg) in ("Exception", "BaseException") for arg in node.args)
    )


def test_no_error_is_swallowed_unseen() -> None:
    none(
        module.at(node, "every error is swallowed")
        for module in everything()
        for node in ast.walk(module.tree)
        if swallows_all(node)
    )
