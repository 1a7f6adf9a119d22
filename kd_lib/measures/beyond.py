"""Whether maps say more than outputs do: the same story, the gain at equal outputs, and what makes networks accurate.

Columns of a frame of closeness to the ensemble, a row a kind, model and image: kind, model, image and `CLOSENESS`.
"""

import numpy as np
import pandas as pd
from scipy.stats import permutation_test
from sklearn.preprocessing import SplineTransformer
from statsmodels.regression.linear_model import OLS

from kd_lib.measures import statistics
from kd_lib.measures.outputs import ACCURACY, AGREEMENT, CKA, ERROR, KL
from kd_lib.measures.statistics import centred_ranks, interval, known_interval, percentiles, rank_correlation

MAPS_ON, MAPS_OFF = "similarity on target", "similarity off target"
CLOSENESS = (AGREEMENT, KL, CKA, ACCURACY, MAPS_ON, MAPS_OFF)
SAME_OUTPUT = 1e-6  # nats, or squared logits; below, outputs count as the same, so that the logarithm has an end
FACTOR = 1.5  # outputs count as equally close to the ensemble where neither KL is more than this times the other
LEAST = 10  # images, or states of networks, that a rank correlation takes
GONE = 0.25  # a gain counts as gone where at most this part of it is left
MATCHED, POOLED, PAIRED = CONTROLLED = (
    f"same image and agreement, KL within {FACTOR} times",
    "regression on KL, error of logits and agreement",
    "regression on KL, error of logits and agreement, same image",
)
ALL_STATES, SAME_EPOCH = "all networks and epochs", "components at the same epoch"


# ---- do similarity and outputs tell the same story? ------------------------------------------------------------------


def closeness_summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over images, with 95 % bootstrap intervals over images.

    `frame` has a row a kind, model and image, with the columns of `CLOSENESS`; NaN are left out. Gives a row a kind,
    network ('all': the mean of those of its kind) and measure: kind, network, measure, estimate, low, high, images.
    """
    rows = []
    for kind, group in frame.groupby("kind", sort=False):
        for name, own in [*group.groupby("model", sort=False), ("all", group)]:
            for measure in CLOSENESS:
                images = own["image"][own[measure].notna()].nunique()
                rows.append((kind, name, measure, *known_interval(own, measure), images))
    return pd.DataFrame(rows, columns=["kind", "network", "measure", "estimate", "low", "high", "images"])


def rank_correlations(frame: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Whether a network's maps are closer to the ensemble's on those images on which its outputs are.

    `frame` is as of `closeness_summary`, `seed` of the bootstrap. Gives a row a kind, similarity (on, off target) and
    output (KL, agreement): spearman (of the images of a network, mean of the networks), low, high (95 %, images drawn),
    networks, images. Networks for which either does not vary are left out; a kind without others, or with fewer than 10
    images, has no row.
    """
    rows = []
    for kind, group in frame.groupby("kind", sort=False):
        for similarity in (MAPS_ON, MAPS_OFF):
            for output in (KL, AGREEMENT):
                tables = [group.pivot(index="image", columns="model", values=c) for c in (similarity, output)]
                vary = np.logical_and(*(table.nunique() > 1 for table in tables))
                known = pd.concat([table.loc[:, vary] for table in tables], axis=1, keys=["x", "y"]).dropna()
                if not vary.any() or len(known) < LEAST:
                    continue
                x, y = known["x"].to_numpy().T, known["y"].to_numpy().T
                draws = statistics.resampled_rank_correlations(x, y, seed=seed)
                drawn = np.ma.masked_invalid(draws)  # may lack what varies
                estimate, bounds = rank_correlation(x, y).mean(), percentiles(drawn.mean(0).compressed())
                rows.append((kind, similarity, output, estimate, *bounds, len(x), len(known)))
    columns = ["kind", "similarity", "output", "spearman", "low", "high", "networks", "images"]
    return pd.DataFrame(rows, columns=columns)


def same_story(found: pd.DataFrame) -> str:
    """Say for which kinds the images with closer outputs are those with closer maps, from `rank_correlations`."""
    said = ["Are maps closer to the ensemble's on images on which outputs are?"]
    for row in found[found["output"] == KL].itertuples():
        numbers = f"Spearman with KL {row.spearman:.2f}, {row.low:.2f} to {row.high:.2f}"
        said.append(f"{row.kind}, {row.similarity}: {_sign(-row.high, -row.low)} ({numbers}).")
    return "\n".join(said if len(said) > 1 else [*said, "Cannot tell: too few images or networks that differ in them."])


def _sign(low: float, high: float) -> str:
    return "yes" if low > 0 else "no, the other way round" if high < 0 else "cannot tell"


# ---- is the gain in similarity there where outputs are equal? --------------------------------------------------------


def beyond(frame: pd.DataFrame, *, similarity: str, seed: int = 0) -> pd.DataFrame:
    """How much closer the distilled network's maps are than a component's, where their outputs are equally close.

    A component and the distilled network are compared with the same ensemble, of the other components, in maps and in
    outputs. A pair is the two of them, on one image. `frame` has a row a kind ('leave-one-out' or 'distilled'),
    component left out of the ensemble ('without') and image, with the columns agreement, KL (nats), error of logits and
    `similarity` of maps. KL at the temperature at which students are taught, and the error, are what they are trained
    to make small; on the image as it is, here.

    Gives a row an adjustment: adjustment, gain (in similarity), low, high (95 %, images as clusters), part left (of the
    gain without adjustment), KL ratio (the distilled network's KL over the component's, geometric mean of the pairs
    compared; 1 where a regression holds it there), pairs, images. NaN where there are too few images. No rows without a
    distilled network and leave-one-out components.

    The adjustments are: none; pairs in which both agree with the ensemble; pairs of the same agreement and about the
    same KL (`FACTOR`); least squares of similarity on being distilled, cubic splines of log KL and log error, and
    agreement; and least squares of a pair's difference in similarity on its differences in log KL, log error and
    agreement. The first regression also compares images, of which the distilled network has harder ones at the same KL;
    the second does not.
    """
    rows = frame[frame["kind"].isin(["distilled", "leave-one-out"])].dropna(subset=[similarity, KL, ERROR, AGREEMENT])
    logs = {"log_kl": KL, "log_error": ERROR}
    rows = rows.assign(**{log: np.log(np.maximum(rows[column], SAME_OUTPUT)) for log, column in logs.items()})
    rows = rows.assign(distilled=rows["kind"] == "distilled")
    student, own = rows[rows["distilled"]], rows[~rows["distilled"]]
    pairs = student.merge(own, on=["image", "without"], suffixes=("", " less"))
    columns = ["adjustment", "gain", "low", "high", "part left", "KL ratio", "pairs", "images"]
    if pairs.empty:
        return pd.DataFrame(columns=columns)
    change = pd.DataFrame({c: pairs[c] - pairs[f"{c} less"] for c in (similarity, *logs, AGREEMENT)})
    both = (pairs[AGREEMENT] == 1) & (pairs[f"{AGREEMENT} less"] == 1)
    equal = (change["log_kl"].abs() <= np.log(FACTOR)) & (change[AGREEMENT] == 0)
    found = []
    for name, chosen in {"none": both | True, "both agree with the ensemble": both, MATCHED: equal}.items():
        kept, image = change[chosen], pairs["image"][chosen]
        gain = interval(kept[similarity], image, seed=seed) if len(kept) else (np.nan,) * 3
        found.append((name, *gain, np.exp(kept["log_kl"].mean()), len(kept), image.nunique()))
    bending = [log for log in logs if rows[log].nunique() > 4] or ["log_kl"]  # a spline takes knots that differ
    spline = SplineTransformer(n_knots=4, degree=3, knots="quantile", include_bias=False)
    bends = spline.fit_transform(rows[bending])
    covariates = np.column_stack([rows["distilled"], np.ones(len(rows)), bends, rows[AGREEMENT]])
    gain = _least_squares(rows[similarity], covariates, rows["image"])
    found.append((POOLED, *gain, 1.0, len(pairs), rows["image"].nunique()))
    covariates = np.column_stack([np.ones(len(change)), change[[*logs, AGREEMENT]]])
    gain = _least_squares(change[similarity], covariates, pairs["image"])
    found.append((PAIRED, *gain, 1.0, len(pairs), pairs["image"].nunique()))
    table = pd.DataFrame(found, columns=[c for c in columns if c != "part left"])
    table.insert(4, "part left", table["gain"] / table["gain"].iloc[0])
    return table


def _least_squares(y: pd.Series, x: np.ndarray, images: pd.Series) -> tuple[float, float, float]:
    """First coefficient with its 95 % interval, errors clustered by image."""
    varies = np.ptp(x, axis=0) > 0
    varies[np.flatnonzero(~varies)[:1]] = True  # one constant; agreement may be complete, and nothing to adjust for
    groups, names = pd.factorize(images)
    if len(names) <= 2 * varies.sum():
        return (np.nan,) * 3
    fitted = OLS(y.to_numpy(), x[:, varies]).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    return (float(fitted.params[0]), *map(float, fitted.conf_int()[0]))


def beyond_verdict(found: pd.DataFrame) -> str:
    """Whether maps are closer beyond outputs: 'yes', 'no', 'cannot tell', or 'no gain' to be explained.

    'Yes' where all three estimates at equal outputs (`CONTROLLED`) have an interval above 0; 'no' where all three
    intervals end below a quarter (`GONE`) of the gain without adjustment.
    """
    whole, controlled = found.iloc[0], found[found["adjustment"].isin(CONTROLLED)]
    if not whole["low"] > 0:
        return "no gain" if whole["high"] >= whole["low"] else "cannot tell"
    if (controlled["low"] > 0).all():
        return "yes"
    return "no" if (controlled["high"] < GONE * whole["gain"]).all() else "cannot tell"


def beyond_in_words(found: pd.DataFrame, what: str) -> str:
    """Say in a sentence what `beyond` found, for instance of the `what` 'similarity on target'."""
    if found.empty:
        return f"{what}: cannot be compared, which takes a distilled network, an ensemble and finite outputs."
    whole, controlled = found.iloc[0], found[found["adjustment"].isin(CONTROLLED)].dropna(subset=["gain"])
    gain = f"the distilled network is closer than leave-one-out by {whole['gain']:.3f}"
    gain += f" ({whole['low']:.3f} to {whole['high']:.3f})"
    said = beyond_verdict(found)
    if said == "no gain":
        return f"{what}: {gain}, an interval that is not above 0: there is no gain to explain."
    if controlled.empty:
        return f"{what}: {gain}; too few images to compare at equal outputs: cannot tell."
    parts = f"{controlled['part left'].min():.0%} to {controlled['part left'].max():.0%}"
    return f"{what}: {gain}; at equal outputs {parts} of it is left. Closer beyond outputs: {said}."


def similarity_by_kl(frame: pd.DataFrame, *, bins: int = 5) -> pd.DataFrame:
    """Mean similarity of maps by how close outputs are, for a figure.

    `frame` is as of `beyond`; the `bins` of KL have the same number of rows each (all kinds together). Gives a row a
    target ('on target', 'off target'), kind and bin: target, kind, KL (nats) (geometric mean of the bin's rows of that
    kind), similarity, low, high (95 %, images drawn), images (at least 3).
    """
    known = frame.dropna(subset=[KL])
    known = known.assign(log_kl=np.log(np.maximum(known[KL], SAME_OUTPUT)))
    rows = []
    if len(known):
        known["bin"] = pd.qcut(known["log_kl"], bins, labels=False, duplicates="drop")
        for target, column in {"on target": MAPS_ON, "off target": MAPS_OFF}.items():
            for (kind, _), group in known.dropna(subset=[column]).groupby(["kind", "bin"], sort=False):
                if (images := group["image"].nunique()) >= 3:
                    at, found = np.exp(group["log_kl"].mean()), interval(group[column], group["image"])
                    rows.append((target, kind, at, *found, images))
    return pd.DataFrame(rows, columns=["target", "kind", KL, "similarity", "low", "high", "images"])


# ---- does similarity to the consensus track accuracy? ----------------------------------------------------------------


def track(frame: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Whether networks whose maps are closer to the others' consensus are more accurate.

    `frame` has a row a network, epoch and image: kind, model, epoch, image, similarity (to the consensus), and accuracy
    of the network at that epoch, on other images: on the same ones, chance would tie the two.

    Gives two rows: all states; and the components, each less the mean of all at the same epoch (but 0), since training
    raises both whatever the maps. Columns among, spearman (of mean similarity and accuracy), low, high (95 %, images
    drawn), p (one-sided: the accuracies of whole networks given to others at random; NaN for all states), states,
    networks. NaN for fewer than 10 states.
    """
    known = frame.dropna(subset=["similarity", "accuracy"])
    state = ["kind", "model", "epoch"]
    table = known.pivot_table(index=state, columns="image", values="similarity")
    accuracy = known.groupby(state)["accuracy"].first()
    means = pd.DataFrame(_resampled_means(table.to_numpy(), seed), index=table.index)
    rows = [(ALL_STATES, *_tracked(means, accuracy), np.nan, len(means), known["model"].nunique())]
    at = means.index.to_frame(index=False)
    components = at[(at["kind"] == "component") & (at["epoch"] > 0)]
    networks = components["model"].nunique()
    at_once = components.groupby("epoch")["model"].transform("size") == networks
    chosen = components[at_once].set_index(state).index
    less = [v.loc[chosen] - v.loc[chosen].groupby("epoch").transform("mean") for v in (means, accuracy)]
    enough = networks > 1 and len(chosen) >= LEAST
    found = (*_tracked(*less), _permuted(*less, networks, seed)) if enough else (np.nan,) * 4
    rows.append((SAME_EPOCH, *found, len(chosen), networks))
    return pd.DataFrame(rows, columns=["among", "spearman", "low", "high", "p", "states", "networks"])


def _resampled_means(values: np.ndarray, seed: int) -> np.ndarray:
    """Means (S, 1 + R) of values (S, N) over all images, then over each bootstrap sample; NaN are left out."""
    images = values.shape[1]
    if not values.size:
        return np.empty((len(values), 1))
    weights = np.vstack([np.ones(images), statistics.bootstrap_weights(images, seed=seed)]).T
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(values) @ weights / (np.isfinite(values) @ weights)


def _tracked(means: pd.DataFrame, accuracy: pd.Series) -> tuple[float, float, float]:
    """Correlate the first column of means with accuracy; the others are resamples."""
    if len(means) < LEAST:
        return (np.nan,) * 3
    drawn = rank_correlation(means.to_numpy().T, accuracy.to_numpy())
    return (drawn[0], *percentiles(drawn[1:]))


def _permuted(means: pd.DataFrame, accuracy: pd.Series, networks: int, seed: int) -> float:
    # Networks that change places take the ranks of all their epochs along.
    similarity, accuracies = (centred_ranks(values.to_numpy()).reshape(networks, -1) for values in (means[0], accuracy))
    products = similarity @ accuracies.T / np.sqrt((similarity**2).sum() * (accuracies**2).sum())

    def correlation(order: np.ndarray, axis: int) -> np.ndarray:
        return products[np.arange(networks), np.moveaxis(order, axis, -1)].sum(-1)

    options = {"permutation_type": "pairings", "alternative": "greater", "n_resamples": statistics.PERMUTATIONS}
    rng = np.random.default_rng(seed)
    return float(permutation_test((np.arange(networks),), correlation, vectorized=True, rng=rng, **options).pvalue)


def tracking(found: pd.DataFrame) -> str:
    """Say whether similarity to the consensus tracks accuracy, from `track`."""
    said = ["Are networks closer to the consensus more accurate?"]
    for name, row in found.set_index("among").iterrows():
        if np.isnan(row["spearman"]):
            said.append(f"{name}: cannot tell, which takes {LEAST} states and finite outputs.")
            continue
        low, high = (row["low"], row["high"]) if np.isnan(row["p"]) else (0.05 - row["p"], 0.95 - row["p"])
        p = "" if np.isnan(row["p"]) else f", p {row['p']:.3f} from {int(row['networks'])} networks"
        said.append(
            f"{name}: {_sign(low, high)} (Spearman {row['spearman']:.2f}, {row['low']:.2f} to {row['high']:.2f}{p})."
        )
    return "\n".join(said)
