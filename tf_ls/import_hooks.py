"""Functions that run in the place of a module's execution, whenever somebody imports it.

`tf_ls_neurst.pth` executes this file at every start of the interpreter, without importing the
package tf_ls: so it imports nothing but `sys`, and whatever costs time waits for the module.
"""

import sys


class ImportHook:
    """Meta path finder for one name alone, whose module the other finders find.

    Of the module spec that they return only `loader.exec_module` is replaced, on that one loader,
    until the module is executed: everything else about the spec stays as it was.
    """

    def __init__(self, hooked_name, run):
        self.hooked_name = hooked_name
        self._run = run

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.hooked_name:
            return None
        for finder in list(sys.meta_path):
            find_spec = getattr(finder, "find_spec", None)
            if find_spec is None or _hooks(finder, fullname):
                continue
            spec = find_spec(fullname, path, target)
            if spec is not None:
                _replace_execution(spec, fullname, self._run)
                return spec
        return None


def install(name, run):
    """Has `run(module, execute)` called where the module `name` would be executed, from now on.

    `run` is to call `execute(module)`. Names that are hooked already stay as they are.
    """
    if not any(_hooks(finder, name) for finder in list(sys.meta_path)):
        sys.meta_path.insert(0, ImportHook(name, run))


def hook_neurst():
    """Puts the hook in place through which NeurST finds tf_ls; `tf_ls_neurst.pth` calls it."""

    def run(module, execute):
        from tf_ls.neurst.pick_up import execute_neurst

        execute_neurst(module, execute)

    install("neurst", run)


def _hooks(finder, name):
    # By its name: this file may have been executed before, and made another class.
    return type(finder).__name__ == "ImportHook" and finder.hooked_name == name


def _replace_execution(spec, name, run):
    """Makes the loader of `spec` call `run` where it would execute the module `name`, once."""
    loader = spec.loader
    execute = getattr(loader, "exec_module", None)
    # A folder that happens to have this name has no code to execute. A loader without attributes
    # cannot be changed, and a class that serves as loader would pass the change on to everybody.
    if spec.origin is None or execute is None or isinstance(loader, type):
        return
    if not hasattr(loader, "__dict__"):
        return
    # Another import hook may have asked for this name before, or the loader serves two of them.
    runs = getattr(execute, "tf_ls_runs", None)
    if runs is not None:
        runs[name] = run
        return
    attribute = vars(loader).get("exec_module")
    runs = {name: run}

    def exec_module(module):
        run = runs.pop(module.__name__, None)
        if run is None:  # a loader may serve several modules
            return execute(module)
        if not runs and vars(loader).get("exec_module") is exec_module:
            if attribute is None:
                del loader.exec_module
            else:
                loader.exec_module = attribute
        run(module, execute)

    exec_module.tf_ls_runs = runs
    loader.exec_module = exec_module
