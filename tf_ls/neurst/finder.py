"""The import hook through which NeurST finds tf_ls by itself.

`tf_ls_neurst.pth` calls `install()` at every start of the interpreter, so this module imports
nothing but `sys`, and whatever costs time waits until somebody imports NeurST.
"""

import sys


class NeurstFinder:
    """Meta path finder for the name "neurst" alone.

    The other finders find NeurST. Of the module spec that they return only `loader.exec_module` is
    replaced, on that one loader: everything else about the spec stays as it was.
    """

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "neurst":
            return None
        for finder in list(sys.meta_path):
            find_spec = getattr(finder, "find_spec", None)
            if isinstance(finder, NeurstFinder) or find_spec is None:
                continue
            spec = find_spec(fullname, path, target)
            if spec is not None:
                _wrap(spec)
                return spec
        return None


def _wrap(spec):
    """Makes the loader of `spec` mend NeurST before and fuse it after executing it."""
    loader = spec.loader
    execute = getattr(loader, "exec_module", None)
    # A folder that happens to be called neurst has no code to execute, another import hook may have
    # asked this one already, and a class that serves as loader would pass the change on to
    # everybody.
    if spec.origin is None or execute is None or isinstance(loader, type):
        return
    if getattr(execute, "mends_neurst", False):
        return

    def exec_module(module):
        if module.__name__ != "neurst":  # a loader may serve several modules
            return execute(module)
        from tf_ls.neurst import compat

        compat.mend_tensorflow()
        execute(module)
        compat.mend_neurst()
        _fuse()

    exec_module.mends_neurst = True
    loader.exec_module = exec_module


def _fuse():
    """Puts the fused layers into NeurST, which stays stock if the operations cannot be loaded."""
    import os

    if os.environ.get("TF_LS_DISABLE") == "1":
        return
    from absl import logging

    from tf_ls.library import library

    try:
        _ = library.ops  # loads them
    except ImportError as error:
        logging.warning("tf_ls: nothing is fused, NeurST runs on its own layers: %s", error)
        return
    from tf_ls.neurst import fuse

    fuse.install()


def install():
    """Puts the finder in front of sys.meta_path, once."""
    if not any(isinstance(finder, NeurstFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, NeurstFinder())
