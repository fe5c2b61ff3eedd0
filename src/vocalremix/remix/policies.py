"""What a policy of params.yaml makes of the thesis's remixes."""

from collections.abc import Mapping

from vocalremix.remix.base import Remix
from vocalremix.remix.registry import REMIXES, Changes, Policy

Remixes = Mapping[str, Remix]


def by_policy(remixes: Remixes, policy: Policy) -> tuple[dict[str, Remix], tuple[int, Remixes] | None]:
    """The remixes with what the policy says over their own settings; those that it adds come last, by name.

    Also how many epochs at the end have remixes of their own, and which; None where none have.
    """
    usual = _changed(remixes, policy)
    return usual, (policy.last.epochs, _changed(usual, policy.last)) if policy.last else None


def _changed(remixes: Remixes, changes: Changes) -> dict[str, Remix]:
    own = {name: remix.model_dump() for name, remix in remixes.items()}
    said = {name: remix.model_dump(exclude_unset=True) for name, remix in changes.said().items()}
    return {name: REMIXES[name].model_validate(own.get(name, {}) | said.get(name, {})) for name in own | said}
