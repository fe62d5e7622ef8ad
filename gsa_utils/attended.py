"""How a map gets into a network that knows nothing of maps: before its input, or by a hook on one of its submodules."""

from jaxtyping import Float
from torch import Tensor, nn

from gsa_utils.arguments import bad_value, check_name, instance_of


class Attended(nn.Module):
    """A model and the map that weights its input, or the activations entering one of its submodules."""

    def __init__(self, model: nn.Module, attention: nn.Module, at: str | None):
        super().__init__()
        self.model = model
        self.attention = attention
        self.at = at
        if at is not None:
            # A bound method, so that deepcopy and pickle re-bind the hook to the copy.
            model.get_submodule(at).register_forward_pre_hook(self._weigh)

    def _weigh(self, module: nn.Module, args: tuple[object, ...]) -> tuple[object, ...]:
        if not args:
            raise RuntimeError(f"at={self.at!r}: the model hands this submodule its activations by keyword")
        return (self.attention(args[0]), *args[1:])

    def detach(self) -> nn.Module:
        """Undo `attend`: take the map out and return the model without it, as it is now."""
        if self.at is not None:
            hooks = self.model.get_submodule(self.at)._forward_pre_hooks
            for key in [key for key, hook in hooks.items() if getattr(hook, "__self__", None) is self]:
                del hooks[key]
        return self.model

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Tensor:
        return self.model(self.attention(x) if self.at is None else x)


def attend(model: nn.Module, attention: nn.Module, at: str | None = None) -> nn.Module:
    """`model` with its input, or the activations entering the submodule `at`, weighted by `attention`.

    Works on any nn.Module. With `at` the given model itself is changed (a forward pre-hook on that submodule): use the
    returned module from then on; its `detach()` takes the map out again and returns the plain model.

    Args:
        model: takes (B, C, H, W) images.
        attention: GlobalSpatialAttention, FreeMap, or any module from activations to activations.
        at: name of a submodule as in `model.named_modules()`, or None for the input.

    Raises:
        ValueError: `model` has no submodule `at` (the nearest names come with it), or another map sits there already.
    """
    names = [name for name, _ in instance_of("model", model, nn.Module, "an nn.Module").named_modules() if name]
    instance_of("attention", attention, nn.Module, "a global map, or another nn.Module from activations to activations")
    if at is not None:
        check_name("at", at, names)
    hooks = model.get_submodule(at)._forward_pre_hooks.values() if at is not None else ()
    if any(isinstance(getattr(hook, "__self__", None), Attended) for hook in hooks):
        # Both would act, but the first would belong to no model any more: not trained, not saved, not frozen.
        raise bad_value("at", repr(at), "a submodule without a map; this one has one: detach() that first")
    return Attended(model, attention, at)
