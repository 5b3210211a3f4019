"""What does a person read after a training, a search for settings or a refresh?"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoders.report import Lead, words_line

if TYPE_CHECKING:
    from ranker.refresh import Changes
    from ranker.train import Trained
    from ranker.tune import Best, Tuning


def training_lines(trained: "Trained", promoted: bool) -> Iterator[str]:
    """Tell what was learned, how good it is by what was held out, and what serves now."""
    measured = trained.measured
    encoder, blend = measured["encoder"], measured["blend"]
    if n_changed := measured["catalogue"]["changed_later"]:
        yield f"{n_changed:,} items have changed at or after the cutoff: trained on what the catalogue said before it"
    yield from _encoder_lines(encoder)
    if blend["learned"]:
        yield (
            f"blend of {blend['trees']} trees: NDCG@10 {_beside_ranks(blend)} on later queries, over a sample of "
            f"candidates that hold {blend['candidate_recall']:.1%} of what followed"
        )
    else:
        yield f"blend by fusion of ranks: {blend['why']}"
        if weights := blend.get("weights"):
            speaking = measured["sources"]["recall@500"]  # not those that the rules leave out
            told = ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items() if name in speaking)
            yield f"what each source counts in it: {told}"
    yield _given_line(measured["given"], blend)
    yield from source_lines(*(measured[part] for part in ("sources", "fresh_places", "cold_users", "untouched")))
    yield from _settings_lines(trained)
    for title, part in (("taken next", blend), ("clicked when shown", measured["given"])):
        yield from _reliability_lines(title, part.get("calibration"))
    yield _serves(trained.folder, promoted)


def _encoder_lines(encoder: dict[str, Any]) -> Iterator[str]:
    """Tell untuned -> tuned beside words alone; encoders of before words were measured tell nothing of these."""
    named = f"encoder {encoder['kind']} from {encoder['base']}"
    if encoder["tuned_recall@10"] is None:
        yield f"{named}: not measured, the log is too short to hold a part out"
        return
    told = {
        name: f"{encoder[f'untuned_{name}']:.4f} untuned -> {encoder[f'tuned_{name}']:.4f} tuned"
        + ("" if encoder[f"words_{name}"] is None else f", {encoder[f'words_{name}']:.4f} by words alone (TF-IDF)")
        for name in ("recall@10", "ndcg@10")
    }
    yield f"{named}: recall@10 of held-out next items {told['recall@10']}; NDCG@10 {told['ndcg@10']}"
    if lead := encoder["over_words_ndcg@10"]:
        yield words_line(Lead(**lead))


def _given_line(given: dict[str, Any], blend: dict[str, Any]) -> str:
    if given["learned"]:
        return f"blend for given items of {given['trees']} trees: NDCG@10 {_beside_ranks(given)} on later requests"
    instead = "the blend" if blend["learned"] and "fused" not in given else "fused ranks"
    return f"no blend for given items: {given['why']}; {instead} will order them"


def _beside_ranks(blend: dict[str, Any]) -> str:
    """Tell the NDCG@10 of trees beside that of fused ranks, which a bundle of before does not know."""
    trees = f"{blend['valid_ndcg@10']:.4f}"
    return f"{trees} ({blend['ranks_ndcg@10']:.4f} by fused ranks)" if "ranks_ndcg@10" in blend else trees


def source_lines(
    sources: dict[str, Any], places: dict[str, Any], cold_users: dict[str, Any], untouched: dict[str, Any]
) -> Iterator[str]:
    """Tell what each source finds, and what was chosen for new items, users without a past and untouched items."""
    if sources and sources["taken"]:
        recall = ", ".join(f"{name} {share:.3f}" for name, share in sources["recall@500"].items())
        yield f"recall@500 of each source alone, of {sources['taken']:,} takings: {recall}"
        yield f"candidates of all sources together hold {sources['proposed']:.3f} of these takings"
        if idle := sources["adds_nothing"]:
            yield f"sources without which the others would hold as many: {', '.join(idle)}"
    if places.get("tried"):
        yield _places_line(places)
    if tried := cold_users.get("tried"):
        orders = ", ".join(f"{name} {value:.4f}" for name, value in tried.items())
        yield f"users without a past see the order of: {cold_users['by']} (NDCG@10 by order: {orders})"
    tried = untouched.get("tried", {})
    if len(set(tried.values())) > 1:  # else no such item stands where it could matter
        found = ", ".join(f"{by} lower {value:.4f}" for by, value in tried.items())
        yield f"items that nobody has touched stand {untouched['by']:.3g} lower in live answers (NDCG@10: {found})"


def _places_line(places: dict[str, Any]) -> str:
    costs = "; ".join(
        f"{kept if kept != '0' else 'none'}: "
        f"{cost['ndcg@10']:.4f}, {cost['known_ndcg@10']:.4f}, {cost['fresh_recall@10']:.4f}"
        for kept, cost in places["tried"].items()
    )
    chosen = f"1 of {places['every']}"
    if places.get("kept") == 0:
        chosen += ", at the cutoff none: hardly anybody takes new items"
    elif "kept" in places:
        days = math.expm1(places["newness"]) / 86_400
        chosen += (
            f", at the cutoff {places['kept']} for users who take items up to {days:.3g} days after anyone first did"
        )
    return f"places for new items: {chosen} (NDCG@10, known items' part of it, new items' recall@10 by places: {costs})"


def _settings_lines(trained: "Trained") -> Iterator[str]:
    if found := trained.tuned:
        yield (
            f"settings from tuned.toml: {_spoken_settings(found.settings) or 'none, readrank.toml has others'}; "
            f"NDCG@10 {found.value:.4f} on the judge window, defaults {found.defaults:.4f}, "
            f"difference within [{found.low:+.4f}, {found.high:+.4f}]"
        )
    yield from unused_settings(trained)


def unused_settings(trained: "Trained") -> Iterator[str]:
    """Tell of settings that a search had found with what this training must not know."""
    if left := trained.not_used:
        yield f"tuned.toml is not used: it was found with what lies before {left.until}, later than the cutoff"


def _reliability_lines(title: str, measured: dict[str, Any] | None) -> Iterator[str]:
    """Draw what was said and what happened, bin by bin."""
    if measured is None:
        return
    if not measured["learned"]:
        yield f"probability of being {title}: not learned: {measured['why']}"
        return
    yield (
        f"probability of being {title}: calibration error {measured['error']:.5f} at a base rate of "
        f"{measured['base_rate']:.5f} ({measured['uncalibrated_error']:.5f} uncalibrated); log loss for each taken "
        f"{measured['log_loss']:.3f} ({measured['base_log_loss']:.3f} of the base rate)"
    )
    yield "  " + "  ".join(["predicted", " observed", f"{'candidates':>11}"])
    for part in measured["bins"]:
        yield f"  {part['predicted']:>9.5f}  {part['observed']:>9.5f}  {part['n']:>11,}"


def tuning_lines(tuning: "Tuning") -> Iterator[str]:
    """Tell which settings were found, and whether they are better than the defaults."""
    yield _best_line("recommendations", tuning.recommend)
    if tuning.given:
        yield _best_line("given items", tuning.given)
    yield tuning.why
    if tuning.settings:
        yield f"tuned.toml for `readrank train`: {_spoken_settings(tuning.settings)}"


def _best_line(title: str, best: "Best") -> str:
    judged = best.judged
    return (
        f"{title}: {best.trials} trials, {best.pruned} pruned; best is {best.trial}: {_spoken_settings(best.settings)}"
        f"\n  NDCG@10 on the judge window, {judged.queries:,} queries: {judged.value:.4f}, defaults "
        f"{judged.baseline:.4f}; difference {judged.value - judged.baseline:+.4f} "
        f"[{judged.low:+.4f}, {judged.high:+.4f}]"
    )


def _spoken_settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value:.4g}" for name, value in settings.items())


def refresh_lines(folder: Path, changes: "Changes", promoted: bool) -> Iterator[str]:
    """Tell what is new in catalogue and history, and what serves now."""
    if changes:
        yield (
            f"{changes.new:,} items new, {changes.changed:,} changed, {changes.removed:,} gone: "
            f"{changes.encoded:,} texts encoded, every other vector taken over from {changes.source}"
        )
        if changes.history:
            count = f"{abs(changes.events):,} {'fewer' if changes.events < 0 else 'more'}"
            yield f"history read anew: {count} events than {changes.source} had"
        if changes.rules:
            yield "[rules] are those of readrank.toml now"
        if changes.users_left_out:
            yield f"the past of {changes.users_left_out:,} users whom the store no longer knows is left out"
    else:
        yield f"nothing has changed since {changes.source} was written: no new bundle"
    if changes.repeats_wait:
        yield "repeats under [rules] stays as it was learned: it counts from the next `readrank train` on"
    yield _serves(folder, promoted)


def _serves(folder: Path, promoted: bool) -> str:
    told = " serves now" if promoted else f"; let it serve with `readrank promote {folder.name}`"
    return f"bundle {folder}{told}"
