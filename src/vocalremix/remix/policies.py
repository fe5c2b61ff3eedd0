"""What a policy of params.yaml makes of the thesis's remixes."""

from collections.abc import Mapping
from typing import Any

from vocalremix.remix.base import Remix
from vocalremix.remix.registry import REMIXES, Policy


def changed(remixes: Mapping[str, Remix], policy: Policy) -> dict[str, Remix]:
    """The remixes with what the policy says over their own settings; those that it adds come last, by name."""
    own = {name: remix.model_dump() for name, remix in remixes.items()}
    said: dict[str, dict[str, Any]] = policy.model_dump(exclude_unset=True)
    return {name: REMIXES[name].model_validate(own.get(name, {}) | said.get(name, {})) for name in own | said}
