"""The policy and the taxonomy inside a bundle, read from its own bytes and held to their hashes.

Nothing here reads another file: a policy in a bundle is resolved, a taxonomy is whole. Both may be forged, so that what other
code takes for granted of them is checked here.
"""

from __future__ import annotations

from collections.abc import Iterator

from safetyanalyst import resources
from safetyanalyst.bootstrap import Bootstrap, parse_bootstrap
from safetyanalyst.errors import ConfigError, PolicyError, TaxonomyError
from safetyanalyst.pipelines import bundle
from safetyanalyst.pipelines.bundle import Bundle, BundleError
from safetyanalyst.policy import FORMAT, Policy
from safetyanalyst.scenarios import UnreadableError, strict_json
from safetyanalyst.taxonomy import IMMEDIACIES, Taxonomy

MAX_CELLS = 200_000
"""More cells than any taxonomy of use spans; agents-v1 by leaf actions and effect groups spans 9,000."""


def read_policy(content: bytes, name: str) -> Policy:
    """A policy from its bytes.

    Args:
        content: YAML.
        name: Of the file inside the bundle.

    Raises:
        BundleError: It is no policy, or one that rests on another file.
    """
    try:
        data = resources.parse_yaml(content.decode(), file=name, error=PolicyError)
        if (found := data.pop("format", None)) != FORMAT:
            raise PolicyError(f"unknown format {found!r}", key="format", expected=FORMAT)
        policy = resources.validate(Policy, data, file=None, error=PolicyError)
        str(policy.hash)
    except UnicodeDecodeError as error:
        raise BundleError("not UTF-8", name) from error
    except ConfigError as error:
        problem = f"{error.key}: {error.problem}" if error.key else error.problem
        raise BundleError(problem, name) from error
    return policy


def is_extending(content: bytes) -> bool:
    """Whether the text of a policy rests on another one."""
    try:
        return "extends" in resources.parse_yaml(content.decode(), file=bundle.POLICY_SOURCE)
    except (UnicodeDecodeError, ConfigError):
        return False


def read_taxonomy(opened: Bundle) -> Taxonomy:
    """The taxonomy.

    Raises:
        BundleError: It is none, or it breaks a rule.
    """
    data = document(opened, bundle.TAXONOMY)
    try:
        taxonomy = resources.validate(Taxonomy, data, file=None, error=TaxonomyError)
    except TaxonomyError as error:
        raise BundleError(str(error), bundle.TAXONOMY) from error
    for problem in _faults(taxonomy):
        raise BundleError(problem, bundle.TAXONOMY)
    return taxonomy


def hash_of(taxonomy: Taxonomy) -> str:
    """sha256 of the content, hex, as a loaded taxonomy has it."""
    return resources.canonical_hash(taxonomy.model_dump(mode="json", exclude={"hash"}))


def read_bootstrap(opened: Bundle, policy: Policy) -> Bootstrap:
    """The replicates of the policy's fit.

    Raises:
        BundleError: They are unreadable, or those of another fit.
    """
    try:
        found = parse_bootstrap(document(opened, bundle.BOOTSTRAP), None)
    except ConfigError as error:
        raise BundleError(str(error), bundle.BOOTSTRAP) from error
    facts = None if policy.fit is None else policy.fit.bootstrap
    if facts is None or facts.hash != found.hash:
        raise BundleError("these are not the replicates that the policy names", bundle.BOOTSTRAP)
    return found


def document(opened: Bundle, name: str) -> dict[str, object]:
    """A JSON object that fills a file.

    Raises:
        BundleError: It is none, or written in another way than a bundle's files are.
    """
    content = opened.document(name)
    value = json_object(content, name)
    if bundle.canonical(value) != content:
        raise BundleError("not in the one form that a bundle knows", name)
    return value


def json_object(content: bytes, name: str) -> dict[str, object]:
    """An object from its bytes.

    Raises:
        BundleError: It is none.
    """
    try:
        value = strict_json(content.decode())
    except (UnicodeDecodeError, UnreadableError) as error:
        raise BundleError(f"not JSON: {error}", name) from error
    if not isinstance(value, dict):
        raise BundleError("not a JSON object", name)
    return dict(value)


def _faults(taxonomy: Taxonomy) -> Iterator[str]:
    """What a loaded taxonomy cannot be, and a forged one may."""
    if tuple(level.name for level in taxonomy.immediacies) != IMMEDIACIES:
        yield "immediacies: not downstream and immediate"
    if not (taxonomy.extents and taxonomy.likelihoods and taxonomy.action_groups and taxonomy.effect_groups):
        yield "a scale or a list of groups is empty"
    actions = {group.key for group in taxonomy.action_groups}
    effects = {group.key for group in taxonomy.effect_groups}
    domains = {domain.key for domain in taxonomy.domains}
    yield from (f"harm_actions: no group {it.group[:60]!r}" for it in taxonomy.harm_actions if it.group not in actions)
    yield from (f"benefit_actions: a group, {it.group[:60]!r}" for it in taxonomy.benefit_actions if it.group)
    entries = (*taxonomy.harm_effects, *taxonomy.benefit_effects)
    yield from (f"effects: no group {it.group[:60]!r}" for it in entries if it.group not in effects)
    yield from (f"action_groups: no domain {it.domain[:60]!r}" for it in taxonomy.action_groups if it.domain not in domains)
    lists = {
        "extents": [it.name for it in taxonomy.extents],
        "likelihoods": [it.name for it in taxonomy.likelihoods],
        "harm_actions": [it.name for it in taxonomy.harm_actions],
        "benefit_actions": [it.name for it in taxonomy.benefit_actions],
        "harm_effects": [it.name for it in taxonomy.harm_effects],
        "benefit_effects": [it.name for it in taxonomy.benefit_effects],
    }
    yield from (f"{key}: a name occurs twice" for key, names in lists.items() if len(set(names)) < len(names))
    widest = max(len(taxonomy.harm_actions), len(taxonomy.action_groups)) * len(taxonomy.effect_groups)
    if 4 * widest * len(taxonomy.extents) * len(taxonomy.likelihoods) > MAX_CELLS:
        yield f"it spans more than {MAX_CELLS} cells"
