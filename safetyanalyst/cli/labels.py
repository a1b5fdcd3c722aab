"""What labels are good for besides weights: `align calibrate`, and `align suggest` for the next ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from safetyanalyst.cli.common import (
    EXIT_SOME_FAILED,
    JsonOption,
    existing,
    json_line,
    names_of,
    note,
    refuse_line,
    refuse_to_overwrite,
    replicates_of,
    write_whole,
)

if TYPE_CHECKING:
    from safetyanalyst.conformal import Risk
    from safetyanalyst.pipelines.calibrate import Banded, Calibrated
    from safetyanalyst.policy import BoundPolicy, Policy
    from safetyanalyst.weights import Floats


def calibrate(
    policy: Annotated[str, typer.Argument(help="Shipped policy or YAML file.", metavar="POLICY")],
    on: Annotated[Path, typer.Option("--on", help="JSON lines of labelled trees that no fit has seen.", metavar="LABELLED")],
    out: Annotated[Path, typer.Option("--out", help="Where the policy goes.", metavar="POLICY.yaml")],
    method: Annotated[
        str, typer.Option("--method", help="platt, isotonic, auto (the better out of fold), or none.", metavar="NAME")
    ] = "auto",
    missed: Annotated[
        float | None, typer.Option("--missed", help="Bound on the rate of harmful rows that are allowed.", metavar="RATE")
    ] = None,
    false_block: Annotated[
        float | None, typer.Option("--false-block", help="Bound on the rate of safe rows that are blocked.", metavar="RATE")
    ] = None,
    of: Annotated[
        str,
        typer.Option("--of", help="Rates of the harmful or the safe rows, or of all rows.", metavar="class|all"),
    ] = "class",
    no_guarantee: Annotated[
        bool, typer.Option("--no-guarantee", help="Set the band even where these rows cannot guarantee anything.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the folds.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Give a policy probabilities, and a review band that holds a stated rate of automatic errors."""
    from safetyanalyst.bootstrap import save_bootstrap
    from safetyanalyst.pipelines import calibrate as pipeline
    from safetyanalyst.policy import dump_policy, read_policy
    from safetyanalyst.steering import taxonomy_from

    _check_choice("--method", method, ("platt", "isotonic", "auto", "none"))
    risk: Risk = "class" if _check_choice("--of", of, ("class", "all")) == "class" else "all"
    if method == "none" and missed is None and false_block is None:
        raise typer.BadParameter("--method none leaves nothing to do without --missed or --false-block")
    (path,) = existing([on])
    refuse_to_overwrite(out, labelled=path)
    file = read_policy(policy)
    refuse_line(file, out)
    replicates = replicates_of(file)
    scored = pipeline.score_labelled(path, file.bind(), [it.policy for it in file.line[1:]])
    for failure in scored.failures:
        note(f"{path}:{failure.line}: {failure.error}")
    made, result, band = file.policy, None, None
    if missed is not None or false_block is not None:
        when_unfounded: Literal["refuse", "band_only"] = "band_only" if no_guarantee else "refuse"
        band = pipeline.control(scored, missed_harm=missed, false_block=false_block, risk=risk, when_unfounded=when_unfounded)
        made = band.policy
    if method != "none":
        chosen: Any = method
        result = pipeline.calibrate(scored, method=chosen, seed=seed)
        made = made.model_copy(update={"calibration": result.policy.calibration})
    made = made.model_copy(update={"taxonomy": taxonomy_from(file, out)})
    write_whole(out, dump_policy(made))
    if replicates is not None:  # they lie beside the policy that names them
        save_bootstrap(replicates, out)
    _say(made, result, band, scored.objections, as_json=as_json)
    if scored.failures:
        raise typer.Exit(EXIT_SOME_FAILED)


def suggest(
    trees: Annotated[list[Path], typer.Argument(help="JSON lines of stored trees, labelled or not.", metavar="TREES...")],
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", "-p", help="The policy to improve; further ones to compare with.", metavar="NAME|FILE"),
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many rows.")] = 20,
    by: Annotated[
        str | None,
        typer.Option("--by", help="margin, disagreement, both (of several policies) or information.", metavar="NAME"),
    ] = None,
    diverse: Annotated[bool, typer.Option("--diverse", help="No two rows that are much alike.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write the rows here, ready to label.", metavar="FILE")] = None,
    as_json: JsonOption = False,
) -> None:
    """Name the unlabelled trees whose labels would tell most: informative, in dispute, or near the threshold."""
    from safetyanalyst.pipelines import pool as pools
    from safetyanalyst.pipelines import suggest as pipeline
    from safetyanalyst.report import calibration, terminal

    if by is not None:
        _check_choice("--by", by, ("margin", "disagreement", "both", "information"))
    paths = existing(trees)
    if out is not None:
        _refuse_existing(out)
    names = policy or ["balanced"]
    policies = _bound(names)
    taxonomy = pools.one_taxonomy(policies.values())
    files = dict(zip(names_of(paths), paths, strict=True))
    if len(files) < len(paths):
        raise typer.BadParameter("a file is given twice: its rows would be suggested twice")
    pool = pools.read_pool(files, taxonomy, policies.values(), _replicates(names, policies))
    for failed in pool.failures:
        note(f"{failed.file}:{failed.failure.line}: {failed.failure.error}")
    chosen: Any = by or ("both" if len(policies) > 1 else "information")
    found = pipeline.suggest(pool, policies, n, by=chosen, spread="diverse" if diverse else "useful")
    if out is not None:
        out.write_text("".join(f"{line}\n" for line in pipeline.rows_to_label(found)), encoding="utf-8")
    if as_json:
        reference = {name: it.policy.hash for name, it in policies.items()}
        typer.echo(json_line({"policies": reference, "by": chosen} | found.model_dump(mode="json")))
    else:
        terminal.console().print(calibration.suggestions(found))
    if pool.failures:
        raise typer.Exit(EXIT_SOME_FAILED)


def _say(
    made: Policy, result: Calibrated | None, band: Banded | None, objections: Sequence[str], *, as_json: bool
) -> None:  # fmt: skip
    from safetyanalyst.report import calibration, terminal

    if as_json:
        bins = None if result is None else {"before": result.before, "after": result.after}
        dumped = None if bins is None else {name: [it.model_dump() for it in found] for name, found in bins.items()}
        controlled = None if band is None else [it.model_dump() | {"bound": it.bound} for it in band.risks]
        typer.echo(json_line({
            "policy": made.name,
            "hash": made.hash,
            "calibration": None if made.calibration is None else made.calibration.model_dump(mode="json"),
            "bins": dumped,
            "review_band": made.review_band.model_dump(),
            "risks": controlled,
            "guarantee": None if made.guarantee is None else made.guarantee.model_dump(mode="json"),
            "shares": None if band is None else band.shares,
            "objections": list(objections),
        }))  # fmt: skip
        return
    console = terminal.console()
    if result is not None:
        console.print(calibration.calibrated(result))
    if band is not None:
        console.print(calibration.banded(band))
    for objection in objections:
        note(f"note: {objection}")


def _bound(names: Sequence[str]) -> dict[str, BoundPolicy]:
    """The policies by name; where two have the same name, by what they were asked for as."""
    from safetyanalyst.policy import read_policy

    bound = [read_policy(name).bind() for name in names]
    titles = [it.policy.name for it in bound]
    found = {it.policy.name if titles.count(it.policy.name) == 1 else name: it for name, it in zip(names, bound, strict=True)}
    if len(found) < len(names):
        raise typer.BadParameter("a policy is given twice: it cannot disagree with itself")
    return found


def _replicates(names: Sequence[str], policies: dict[str, BoundPolicy]) -> Floats | None:
    """The bootstrap of a single policy, or of the nearest policy that it extends, when there is one."""
    from safetyanalyst.bootstrap import nearest_bootstrap
    from safetyanalyst.policy import read_policy

    if len(names) > 1:
        return None
    (bound,) = policies.values()
    found = nearest_bootstrap(read_policy(names[0]))
    return None if found is None else found.bootstrap.levels(bound.policy, bound.space, found.policy)


def _check_choice(option: str, value: str, known: Sequence[str]) -> str:
    from safetyanalyst import resources

    if value not in known:
        raise typer.BadParameter(f"{option} is {value!r} (expected {resources.choices(value, known)})")
    return value


def _refuse_existing(out: Path) -> None:
    from safetyanalyst.errors import ConfigError

    if out.exists():
        raise ConfigError("there is something already", file=out, key="--out", expected="a new file")
    if not out.parent.is_dir():
        raise ConfigError("No such file or directory", file=out.parent, key="--out", expected="a folder that is there")
