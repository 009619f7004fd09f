"""Static analysis: find objects of modules and classes that change while code runs."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

MUTATORS = frozenset(
    {
        "add",
        "append",
        "appendleft",
        "clear",
        "difference_update",
        "discard",
        "extend",
        "insert",
        "intersection_update",
        "pop",
        "popitem",
        "popleft",
        "remove",
        "reset",
        "reverse",
        "set",
        "setdefault",
        "sort",
        "subtract",
        "update",
    }
)
# Methods that run before anybody else has the object.
BUILDERS = frozenset({"__init__", "__post_init__", "__new__", "__setstate__"})
# What brings an object back to how it was before a test.
RESETS = {"cache_clear", "close", "delattr", "setattr", "setitem", "delitem", "stop"}
CACHES = frozenset({"cache", "lru_cache"})

Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
BINDING = (ast.AugAssign, ast.AnnAssign, ast.For, ast.AsyncFor, ast.NamedExpr)
NAMED = (ast.ExceptHandler, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass
class Module:
    """A parsed module: what its names are bound to, and where imported ones are from.

    `imported` maps a name to "module" or "module:name"; `assigned` a name to the
    expression it is bound to, if there is one.
    """

    name: str
    tree: ast.Module
    assigned: dict[str, ast.expr | None] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    imported: dict[str, str] = field(default_factory=dict)


def parse(sources: Mapping[str, str]) -> dict[str, Module]:
    """Parse modules, given as source by dotted name; a package's ends in `.__init__`.

    The name of the result's keys and of all findings is without the `.__init__`.
    """
    modules = {}
    for dotted, source in sources.items():
        name = dotted.removesuffix(".__init__")
        package = name if dotted != name else name.rpartition(".")[0]
        module = Module(name, ast.parse(source))
        for node in outside_functions(module.tree):
            bind(module, node)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom):
                origin = resolve(package, node)
                for alias in node.names:
                    module.imported[alias.asname or alias.name] = (
                        f"{origin}:{alias.name}"
                    )
        modules[name] = module
    for module in modules.values():
        for name, origin in module.imported.items():
            submodule = origin.replace(":", ".")
            if submodule in modules:
                module.imported[name] = submodule
    return modules


def resolve(package: str, node: ast.ImportFrom) -> str:
    """Return the absolute name of the module that is imported from."""
    parts = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*(parts if node.level else []), *filter(None, [node.module])])


def bind(module: Module, node: ast.AST) -> None:
    """Enter what a statement of the module binds."""
    if isinstance(node, ast.ClassDef):
        module.classes[node.name] = node
    targets = (
        node.targets
        if isinstance(node, ast.Assign)
        else [node.target]
        if isinstance(node, ast.AnnAssign | ast.AugAssign)
        else []
    )
    for target in targets:
        if isinstance(target, ast.Name):
            module.assigned[target.id] = getattr(node, "value", None)


def outside_functions(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes that run at import, those of classes' bodies left out."""
    waiting: list[ast.AST] = list(reversed(tree.body))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*SCOPES, ast.ClassDef)):
            waiting += reversed(list(ast.iter_child_nodes(node)))


def functions(tree: ast.AST) -> Iterator[tuple[Scope, list[Scope]]]:
    """Yield each function with those around it, itself last."""

    def within(
        node: ast.AST, around: list[Scope]
    ) -> Iterator[tuple[Scope, list[Scope]]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, SCOPES):
                yield child, [*around, child]
                yield from within(child, [*around, child])
            else:
                yield from within(child, around)

    return within(tree, [])


def own_nodes(scope: Scope) -> Iterator[ast.AST]:
    """Yield a function's nodes, without those of functions in it."""
    body = scope.body if isinstance(scope.body, list) else [scope.body]
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*SCOPES, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)


def local_names(scope: Scope) -> set[str]:
    """Return the names that are the function's own, arguments among them."""
    arguments = scope.args
    names = {
        argument.arg
        for argument in (
            *arguments.posonlyargs,
            *arguments.args,
            *arguments.kwonlyargs,
            *filter(None, [arguments.vararg, arguments.kwarg]),
        )
    }
    shared: set[str] = set()
    for node in own_nodes(scope):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, NAMED) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.Global):
            shared |= set(node.names)
    return names - shared


def changed(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions whose objects a node changes, names that it binds too."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign | ast.Delete):
        targets = [*node.targets]
    elif isinstance(node, BINDING):
        targets = [node.target]
    elif isinstance(node, ast.withitem) and node.optional_vars:
        targets = [node.optional_vars]
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            yield node.func.value
        elif path(node.func) == ["next"]:
            yield node.args[0]
    while targets:
        target = targets.pop()
        if isinstance(target, ast.Tuple | ast.List):
            targets += target.elts
        elif isinstance(target, ast.Subscript | ast.Starred):
            yield target.value
        else:
            yield target


def path(expression: ast.expr) -> list[str]:
    """Return `["a", "b"]` for `a.b`, `a.b[0]` and `a[0].b`; [] for other roots."""
    names: list[str] = []
    while True:
        if isinstance(expression, ast.Attribute):
            names.append(expression.attr)
            expression = expression.value
        elif isinstance(expression, ast.Subscript):
            expression = expression.value
        elif isinstance(expression, ast.Name):
            return [expression.id, *reversed(names)]
        else:
            return []


def mutable_objects(
    modules: Mapping[str, Module], *, wired_by: str = ""
) -> dict[str, str]:
    """Return what outlives calls and is changed by them, and why it is thought so.

    By `module:name`, for objects of a class `module:Class.name`. Not seen is what is
    changed through another name for it. What the module `wired_by` changes, it changes
    once, at start-up, and does not count.
    """
    found: dict[str, str] = {}
    stateful = stateful_classes(modules)
    for module in modules.values():
        if module.name != wired_by:
            found |= changed_in_functions(modules, module)
        found |= {
            f"{module.name}:{node.name}": "caches results"
            for node in outside_functions(module.tree)
            if isinstance(node, ast.FunctionDef) and is_cached(node)
        }
        for name, value in module.assigned.items():
            made = value and made_by(modules, module, value)
            if made in stateful:
                found.setdefault(
                    f"{module.name}:{name}", f"{made} has methods that change it"
                )
        for cls in module.classes.values():
            found |= {
                f"{module.name}:{cls.name}.{name}": "belongs to the class"
                for name in changed_of_class(cls)
            }
    return found


def is_cached(function: ast.FunctionDef) -> bool:
    """Tell whether a function remembers its results."""
    for decorator in function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if (names := path(called)) and names[-1] in CACHES:
            return True
    return False


def changed_in_functions(
    modules: Mapping[str, Module], module: Module
) -> dict[str, str]:
    """Return the names of modules, of this or another, that its functions change."""
    found = {}
    for scope, around in functions(module.tree):
        local = set().union(*map(local_names, around))
        for node in own_nodes(scope):
            for target in changed(node):
                names = path(target)
                place = owner(modules, module, names) if names else None
                if (
                    place
                    and names[0] not in local
                    and not is_method(modules, place, node)
                ):
                    found[place] = f"changed in {module.name}, line {target.lineno}"
    return found


def is_method(modules: Mapping[str, Module], place: str, node: ast.AST) -> bool:
    """Tell whether a call is of a method of our own, which is judged by its body."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    home, _, name = place.partition(":")
    value = modules[home].assigned.get(name)
    made = value and made_by(modules, modules[home], value)
    if not made or len(path(node.func)) > 2:
        return False
    home, _, name = made.partition(":")
    own = {method.name for method in methods(modules[home].classes[name])}
    return node.func.attr in own


def owner(
    modules: Mapping[str, Module], module: Module, names: list[str]
) -> str | None:
    """Return the `module:name` of ours that a path such as `a.b` begins at."""
    first, *rest = names
    origin = module.imported.get(first, f"{module.name}:{first}")
    if ":" not in origin:
        if not rest:
            return None
        origin = f"{origin}:{rest[0]}"
    home, _, name = origin.partition(":")
    if home not in modules:
        return None
    holder = modules[home]
    if name in holder.imported and home != module.name:
        # Re-exported.
        return owner(modules, holder, [name])
    return origin if name in holder.assigned or name in holder.classes else None


def made_by(
    modules: Mapping[str, Module], module: Module, value: ast.expr
) -> str | None:
    """Return the class that a module's value is an instance of, as `module:Class`."""
    if not isinstance(value, ast.Call):
        return None
    names = path(value.func)
    made = owner(modules, module, names) if names else None
    home, _, name = (made or "").partition(":")
    if home not in modules or name not in modules[home].classes:
        return None
    # Of its class methods, only those of ours are known to make an instance.
    own = {method.name for method in methods(modules[home].classes[name])}
    return made if names[-1] in {name, *own} or len(names) == 1 else None


def stateful_classes(modules: Mapping[str, Module]) -> set[str]:
    """Return the classes whose instances change after they were made."""
    bases: dict[str, set[str]] = {}
    stateful = set()
    for module in modules.values():
        for cls in module.classes.values():
            name = f"{module.name}:{cls.name}"
            found = (
                owner(modules, module, path(base)) for base in cls.bases if path(base)
            )
            bases[name] = set(filter(None, found))
            if any(self_changes(cls)):
                stateful.add(name)
    while more := {cls for cls, of in bases.items() if of & stateful} - stateful:
        stateful |= more
    return stateful


def methods(cls: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions of a class's body."""
    for node in cls.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def self_changes(cls: ast.ClassDef) -> Iterator[str]:
    """Yield the attributes that methods change once the object is made."""
    for method in methods(cls):
        if method.name in BUILDERS:
            continue
        for node in ast.walk(method):
            for target in changed(node):
                names = path(target)
                if len(names) > 1 and names[0] == "self":
                    yield names[1]


def is_container(value: ast.expr | None) -> bool:
    """Tell whether all instances share what a class's body makes here."""
    if isinstance(value, ast.Call):
        # A dataclass makes one for each.
        return path(value.func)[-1:] != ["field"]
    return isinstance(value, ast.Dict | ast.List | ast.Set)


def changed_of_class(cls: ast.ClassDef) -> set[str]:
    """Return what belongs to a class, not to its instances, and is changed by calls."""
    built = {
        names[1]
        for method in methods(cls)
        if method.name in BUILDERS
        for node in ast.walk(method)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in changed(node)
        if len(names := path(target)) > 1 and names[0] == "self"
    }
    containers = {
        target.id
        for node in cls.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and is_container(node.value)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    found = set()
    for method in methods(cls):
        for node in ast.walk(method):
            for target in changed(node):
                root, name, *_ = [*path(target), "", ""]
                # `self.name = …` gives the instance one of its own.
                bound = isinstance(getattr(target, "ctx", None), ast.Store)
                inside = root == "self" and name in containers - built and not bound
                if inside or (root == "cls" and name):
                    found.add(name)
    return found


def changed_at_import(modules: Mapping[str, Module]) -> list[str]:
    """Return what modules change of each other by being imported."""
    found = []
    for module in modules.values():
        for node in outside_functions(module.tree):
            for target in changed(node):
                names = path(target)
                place = owner(modules, module, names) if names else None
                if place and place.partition(":")[0] != module.name:
                    found.append(f"{place} by importing {module.name}")
    return found


def resets(module: Module, objects: Iterable[str]) -> list[str]:
    """Return where fixtures and hooks of tests change objects of our modules."""
    found = set()
    for scope, around in functions(module.tree):
        if not (module.name.endswith("conftest") or any(map(is_fixture, around))):
            continue
        for target in (each for node in own_nodes(scope) for each in reset_by(node)):
            first, *rest = [*path(target), ""]
            origin = module.imported.get(first, "")
            if ":" not in origin:
                origin = f"{origin}:{rest[0]}" if rest else ""
            if origin in objects:
                found.add((target.lineno, origin))
    return [f"{module.name}, line {line}: {origin}" for line, origin in sorted(found)]


def is_fixture(scope: ast.AST) -> bool:
    """Tell whether a function is decorated as a fixture."""
    decorators = getattr(scope, "decorator_list", [])
    called = (node.func if isinstance(node, ast.Call) else node for node in decorators)
    return any(path(node)[-1:] == ["fixture"] for node in called)


def reset_by(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what a node changes or brings back."""
    yield from changed(node)
    if isinstance(node, ast.Call) and {*path(node.func)[-1:]} & RESETS:
        yield from node.args[:1]
        yield getattr(node.func, "value", node.func)
