"""Where and how precisely to compute: the device by name, mixed precision where the hardware has it."""

import torch
from torch import Tensor, nn

__all__ = ["autocast", "autocast_to_train", "cpu_has_bf16", "device_named", "needs_scaling", "out_of_memory", "sent"]


def device_named(name: str) -> torch.device:
    """The device of that name; "auto" takes a GPU if there is one.

    Args:
        name: auto, cpu, cuda, cuda:0, mps, ...

    Raises:
        ValueError: If this machine has no such device.

    Example:
        >>> device_named("cpu")
        device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("it computes nothing")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [""])[0][:60]
        raise ValueError(f"device must be auto, cpu, or one this machine has; got {name!r} ({reason}).") from None
    return device


def sent(tensor: Tensor, device: torch.device, memory_format: torch.memory_format = torch.preserve_format) -> Tensor:
    """The tensor on a device; the processor does not wait for the copy, except on Apple's GPUs.

    There it is not safe with every version of PyTorch.

    Example:
        >>> sent(torch.ones(2), torch.device("cpu"))
        tensor([1., 1.])
    """
    return tensor.to(device, memory_format=memory_format, non_blocking=device.type != "mps")


def autocast(device: torch.device, amp: bool) -> torch.autocast:
    """Mixed precision where the hardware computes it, else none: emulated bf16 is slower than float32.

    Example:
        >>> with autocast(torch.device("cpu"), amp=False):
        ...     torch.ones(2, 2).mm(torch.ones(2, 2)).dtype
        torch.float32
    """
    if device.type == "cuda":
        kind = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.autocast("cuda", dtype=kind, enabled=amp)
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp and device.type == "cpu" and cpu_has_bf16())


def autocast_to_train(model: nn.Module, device: torch.device, amp: bool) -> torch.autocast:
    """`autocast` for a forward pass with gradients; a model with dilated convolutions trains in float32 on the CPU.

    There, PyTorch 2.15 gives the weights of a dilated convolution a wrong gradient in bf16 (not initialised: NaN, 1e35,
    or the process dies), when the memory order is channels_last and the number of channels is odd, for example.

    Example:
        >>> dilated = nn.Sequential(nn.Conv2d(1, 1, 3, dilation=2))
        >>> with autocast_to_train(dilated, torch.device("cpu"), amp=True):
        ...     dilated(torch.ones(1, 1, 5, 5)).dtype
        torch.float32
    """
    return autocast(device, amp and not (device.type == "cpu" and _is_dilated(model)))


def _is_dilated(model: nn.Module) -> bool:
    """Whether any convolution skips pixels."""
    return any(isinstance(layer, nn.Conv2d) and max(layer.dilation) > 1 for layer in model.modules())


def needs_scaling(device: torch.device, amp: bool) -> bool:
    """Whether gradients must be scaled, because `autocast` computes in fp16, whose range is small.

    Example:
        >>> needs_scaling(torch.device("cpu"), amp=True)
        False
    """
    return amp and device.type == "cuda" and not torch.cuda.is_bf16_supported()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was too small; PyTorch and OpenCV have their own words for it.

    Example:
        >>> out_of_memory(MemoryError()), out_of_memory(RuntimeError("CUDA out of memory.")), out_of_memory(OSError())
        (True, True, False)
    """
    text = str(error).lower()
    words = ("out of memory", "can't allocate memory", "not enough memory", "insufficient memory", "bad_alloc")
    return isinstance(error, MemoryError) or any(word in text for word in words)


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 itself.

    Example:
        >>> cpu_has_bf16() in (False, True)
        True
    """
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())
