"""An accelerator without hardware: numbers lie on the CPU, the rules of devices are CUDA's.

``torch.device(DEVICE)`` is torch's spare backend. Its tensors wrap CPU tensors, and every operation
runs on these. What CUDA refuses is refused: operands on two devices, ``.numpy()``, a CPU generator.
What CUDA lets pass passes: CPU tensors without dimensions in operations that go element by element,
CPU indices, copies. Transfers and waits for results are counted, with the line of vlar::

    with fake_device() as counts:
        encoder = load_encoder("openclip:ViT-S-32-alt?random_init=true", device=DEVICE)
    counts.syncs, counts.to_device, counts.to_host, counts.lines

It finds errors of placement. It does not find speed, memory, kernels, streams or rounding.
"""

# pyright: basic, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportAssignmentType=false
from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from unittest import mock

import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map

from vlar.encoders.clip import options, st_loader

DEVICE = "fakegpu"
_COPIES = {"aten::copy_", "aten::_to_copy", "aten::_copy_from"}
_INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
_SCALARS = {"aten::fill_", "aten::masked_fill_", "aten::masked_fill", "aten::index_fill_"}
#: Operations whose result the host waits for: a number, or a shape that depends on numbers.
_WAITS = {
    *("aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::masked_select"),
    *("aten::_unique2", "aten::unique_dim", "aten::unique_consecutive", "aten::bincount"),
}


@dataclass
class Counts:
    """Transfers and waits since the device was entered."""

    syncs: int = 0
    to_device: int = 0
    to_host: int = 0
    lines: Counter[str] = field(default_factory=Counter)

    def note(self, kind: str) -> None:
        """Count an event, and the line of vlar it comes from where the host waits."""
        setattr(self, kind, getattr(self, kind) + 1)
        if kind == "syncs":
            self.lines[_line()] += 1


_counts = Counts()
_inside = 0  # contexts of ``fake_device``


def _line() -> str:
    frame: Any = sys._getframe(1)
    while frame is not None and "/vlar/" not in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is None:
        return "elsewhere"
    return f"vlar/{frame.f_code.co_filename.rpartition('/vlar/')[2]}:{frame.f_lineno}"


class FakeTensor(torch.Tensor):
    """A tensor of the device; ``raw`` holds its numbers."""

    raw: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> FakeTensor:
        wrapped = torch.Tensor._make_wrapper_subclass(
            cls, raw.shape, strides=raw.stride(), storage_offset=raw.storage_offset(),
            dtype=raw.dtype, layout=raw.layout, device=torch.device(DEVICE, 0),
        )  # fmt: skip
        wrapped.raw = raw
        return wrapped

    def __init__(self, raw: torch.Tensor) -> None: ...

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    @property
    def data(self) -> torch.Tensor:
        return torch.Tensor.data.__get__(self)

    @data.setter
    def data(self, value: torch.Tensor) -> None:
        torch.Tensor.data.__set__(self, value)
        self.raw = value.raw

    def numpy(self, *, force: bool = False) -> Any:
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(f"can't convert {DEVICE}:0 device type tensor to numpy. Use Tensor.cpu()")

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def __repr__(self, **_: Any) -> str:
        return f"FakeTensor({self.raw})"


def _raw(value: Any) -> Any:
    return value.raw if isinstance(value, FakeTensor) else value


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation on the numbers, by the rules of CUDA."""
    name, kwargs = func._schema.name, dict(kwargs)
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    wrappers = {id(x.raw): x for x in tensors if isinstance(x, FakeTensor)}
    on_device = bool(wrappers)
    if name == "aten::copy_":
        on_device = isinstance(args[0], FakeTensor)
    elif kwargs.get("device") is not None:
        on_device = torch.device(kwargs["device"]).type == DEVICE
        kwargs["device"] = torch.device("cpu")
    if name in _COPIES:
        _note_copy(isinstance(args[name == "aten::copy_"], FakeTensor), on_device)
    elif wrappers:
        _check(func, name, args, kwargs, tensors)
    raw_args, raw_kwargs = tree_map(_raw, (args, kwargs))
    output = func(*raw_args, **raw_kwargs)
    if any(x.shape != x.raw.shape for x in wrappers.values()):
        raise NotImplementedError(f"{name} changes a shape in place, which a wrapper cannot follow")
    if not on_device:
        return output

    def wrapped(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or isinstance(value, FakeTensor):
            return value
        return wrappers[id(value)] if id(value) in wrappers else FakeTensor(value)

    return tree_map(wrapped, output)


def _note_copy(from_device: bool, to_device: bool) -> None:
    if from_device and not to_device:
        _counts.note("to_host")
        _counts.note("syncs")
    elif to_device and not from_device:
        _counts.note("to_device")


def _check(func: Any, name: str, args: Any, kwargs: Any, tensors: list[torch.Tensor]) -> None:
    """Refuse what CUDA refuses, and count waits."""
    host = [x for x in tensors if not isinstance(x, FakeTensor)]
    written = [
        value
        for argument, value in zip(func._schema.arguments, args, strict=False)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    lent = host
    if name in _INDEXED:
        indices = [x for x in args[1] if x is not None]
        lent = [x for x in host if all(x is not index for index in indices)]
        if any(x.dtype in (torch.bool, torch.uint8) for x in indices) and _counts_rows(args):
            _counts.note("syncs")
        for _ in range(len(host) - len(lent)):
            _counts.note("to_device")
    scalars = torch.Tag.pointwise in func.tags or name in _INDEXED | _SCALARS
    for x in lent:
        if x.ndim or not scalars or any(x is value for value in written):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{DEVICE}:0 and {x.device}! ({name}, {tuple(x.shape)} on the host)"
            )
    generator = kwargs.get("generator")
    if generator is not None and not any(_same(generator, other) for other in _generators):
        raise RuntimeError(f"Expected a {DEVICE!r} device type for generator but found 'cpu'")
    if name in _WAITS or (name == "aten::repeat_interleave" and kwargs.get("output_size") is None):
        _counts.note("syncs")


def _counts_rows(args: Any) -> bool:
    """Whether a mask has to be counted: not where one number fills it."""
    return len(args) < 3 or args[2].numel() > 1


class _Generator(torch.Generator):
    """A generator that belongs to the device; its numbers are those of a CPU's."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        on_device = torch.device(device).type == DEVICE
        made = super().__new__(cls, "cpu" if on_device else device)
        if on_device:
            _generators.append(made)
        return made


_generators: list[torch.Generator] = []


def _same(one: torch.Generator, other: torch.Generator) -> bool:
    """Whether two handles, which operations do not keep, are of one generator."""
    return torch.equal(one.get_state(), other.get_state())


class _Module:
    """What torch asks of the module of a backend; outside of ``fake_device`` there is none."""

    is_available = is_initialized = staticmethod(lambda: _inside > 0)
    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: 0)
    _is_in_bad_fork = staticmethod(lambda: False)
    manual_seed_all = synchronize = staticmethod(lambda *_: None)
    get_amp_supported_dtype = staticmethod(lambda: [torch.bfloat16, torch.float16])
    get_rng_state = staticmethod(lambda *_: torch.get_rng_state())
    set_rng_state = staticmethod(lambda *_: None)  # a generator of the device is a CPU's


@cache
def _register() -> list[torch.library.Library]:
    """Make the device known to torch: once in a process, and for good."""
    try:
        from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
    except ImportError:
        pytest.skip(f"torch {torch.__version__} takes no backend written in Python")

    class Hook(torch._C._acc.PrivateUse1Hooks):
        def is_available(self) -> bool:
            return _inside > 0

        def has_primary_context(self, index: int) -> bool:
            return True

        def is_built(self) -> bool:
            return True

    _setup_privateuseone_for_python_backend(DEVICE, _Module, Hook())
    kernels = torch.library.Library("aten", "IMPL")

    def empty(size: Any, *, dtype: Any = None, memory_format: Any = None, **_: Any) -> FakeTensor:
        memory_format = memory_format or torch.contiguous_format
        return FakeTensor(torch.empty(size, dtype=dtype, memory_format=memory_format))

    def strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> FakeTensor:
        return FakeTensor(torch.empty_strided(size, stride, dtype=dtype))

    def copy_from(source: Any, target: Any, non_blocking: bool = False) -> Any:
        _note_copy(isinstance(source, FakeTensor), isinstance(target, FakeTensor))
        _raw(target).copy_(_raw(source))
        return target

    def number(value: Any) -> Any:
        _counts.note("syncs")
        return value.raw.item()

    def made(name: str) -> Any:
        packet, _, overload = name.partition(".")
        function = getattr(getattr(torch.ops.aten, packet), overload or "default")

        def kernel(*args: Any, device: Any = None, pin_memory: Any = None, **more: Any) -> Any:
            return FakeTensor(function(*args, device=torch.device("cpu"), **more))

        return kernel

    for name in ("arange", "arange.start", "arange.start_step", "eye", "eye.m"):
        kernels.impl(name, made(name), "PrivateUse1")  # torch makes these by resizing
    kernels.impl("empty.memory_format", empty, "PrivateUse1")
    kernels.impl("empty_strided", strided, "PrivateUse1")
    kernels.impl("_copy_from", copy_from, "PrivateUse1")
    kernels.impl("_local_scalar_dense", number, "PrivateUse1")
    others = torch.library.Library("_", "IMPL")
    others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    return [kernels, others]


def _moved(module: torch.nn.Module, *place: Any, **settings: Any) -> torch.nn.Module:
    """``Module.to`` that keeps parameters the same objects, as on CUDA."""
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        return _module_to(module, *place, **settings)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


_module_to = torch.nn.Module.to


@contextmanager
def fake_device(*, usual: bool = True) -> Generator[Counts]:
    """The device, with counts from zero.

    Tensors that wrap others cannot be made in ``inference_mode``, so it is ``no_grad`` here, also
    where a library made it a decorator before.

    Args:
        usual: Whether models go there where no device is named, as where torch finds a GPU.
    """
    global _counts, _inside
    _register()
    before, _counts = _counts, Counts()

    def inference_mode(mode: bool = True) -> Any:
        return torch.no_grad() if mode else torch.enable_grad()

    def pick_device(name: str | None) -> torch.device:
        return torch.device(DEVICE) if name is None and usual else picked(name)

    picked = options.pick_device
    _inside += 1
    try:
        with (
            mock.patch.object(torch._C, "_InferenceMode", inference_mode),
            mock.patch.object(torch, "Generator", _Generator),
            mock.patch.object(torch.nn.Module, "to", _moved),
            mock.patch.object(options, "pick_device", pick_device),
            mock.patch.object(st_loader, "pick_device", pick_device),
        ):
            yield _counts
    finally:
        _counts, _inside = before, _inside - 1
        _generators.clear()
