"""nearest_centroid: labels of float64 wherever float32 can tell, the same bits in both modes; times against PyTorch, faiss and the matrix rate."""

from __future__ import annotations

import numpy as np

from engine import capi
from engine.ops.centroid_sums import centroid_sums_host
from engine.ops.fixed_sums import fixed_sums_host
from engine.ops.unit_rows import unit_rows_host

from .compare import close, same_bits, same_labels
from .timing import Timing

UNIT = 2.0**-24
CHUNK = 65536  # rows that the peers multiply at once: their matrix of scores must fit a card of 11 GB


def exact(x: np.ndarray, centroids: np.ndarray, cosine: bool):
    """(label, score, lead over the second, bound of a score's rounding), each (n,), in float64."""
    wide, sets = x.astype(np.float64), centroids.astype(np.float64)
    rating = wide @ sets.T - (0 if cosine else (sets**2).sum(1) / 2)
    label = rating.argmax(1)
    best = rating.max(1)
    rating[np.arange(len(x)), label] = -np.inf
    lead = best - rating.max(1) if len(sets) > 1 else np.full(len(x), np.inf)
    score = best if cosine else (wide**2).sum(1) - 2 * best
    # a chain of d fused steps and a few more, of sums no larger than the product of lengths, and half a square
    length, far = np.sqrt((wide**2).sum(1)), np.sqrt((sets**2).sum(1).max())
    bound = (x.shape[1] + 4) * UNIT * (length * far + far**2 / 2)
    return label.astype(np.int32), score, lead, bound + (0 if cosine else (x.shape[1] + 4) * UNIT * length**2)


def checks(gpu, small: bool):
    if small:
        cases = [("float16", 21, 16, 5, False), ("float32", 33, 19, 66, True)]
    else:
        cases = [
            ("float16", 20_000, 128, 919, False), ("float32", 20_000, 128, 500, True), ("float16", 10_001, 512, 919, False),
            ("float32", 9_999, 512, 50, False), ("float16", 5_000, 2048, 919, True), ("float32", 5_003, 2048, 300, False),
            ("float32", 4_097, 16, 4096, False), ("float16", 4_095, 100, 64, True), ("float32", 1, 17, 1, False), ("float16", 300, 2047, 65, False),
        ]  # fmt: skip
    for dtype, n, d, k, cosine in cases:

        def nearest(dtype=dtype, n=n, d=d, k=k, cosine=cosine):
            rng = np.random.default_rng(n)
            x = rng.standard_normal((n, d)).astype(dtype)
            centroids = (x[rng.integers(0, n, k)] + 0.3 * rng.standard_normal((k, d))).astype(np.float32)
            x[0] = np.nan if n > 2 else x[0]
            facts = {}
            for mode in ("fp32", "certified"):
                given = gpu.upload(x), gpu.upload(centroids[None])
                label, score = (gpu.download(one)[0] for one in capi.nearest_centroid(*given, cosine=cosine, mode=mode))
                first = 1 if n > 2 else 0
                if first:
                    same_bits(label[:1], np.zeros(1, np.int32))
                    close(score[:1], np.full(1, np.nan), 0, "a row of NaN has no score")
                right, distance, lead, bound = exact(x[first:], centroids, cosine)
                facts[mode] = same_labels(label[first:], right, lead, 2 * bound, "twice the rounding of a score")["within_rounding"]
                clear = label[first:] == right
                facts[f"{mode} score"] = close(score[first:][clear], distance[clear], 2 * bound[clear], "rounding of a score")["worst_share_of_bound"]
                facts.setdefault("bits", (label.tobytes(), score.tobytes()))
                if facts["bits"] != (label.tobytes(), score.tobytes()):
                    raise AssertionError("the two modes differ in label or score")
            del facts["bits"]
            return facts

        yield f"nearest_centroid {n} x {d}, {k} centroids, {dtype}{', cosine' if cosine else ''}", nearest

    def several():
        rng = np.random.default_rng(4)
        n, d, k = (25, 16, 3) if small else (3001, 128, 130)
        x, sets = rng.standard_normal((n, d)).astype(np.float32), rng.standard_normal((3, k, d)).astype(np.float32)
        label, score = capi.nearest_centroid(gpu.upload(x), gpu.upload(sets))
        for i, centroids in enumerate(sets):
            alone = capi.nearest_centroid(gpu.upload(x), gpu.upload(centroids))
            same_bits(gpu.download(label)[i], gpu.download(alone[0]))
            same_bits(gpu.download(score)[i], gpu.download(alone[1]))
        return {"sets": len(sets)}

    yield "nearest_centroid of several sets at once", several
    large = [("float16", 100_003, 128, 919), ("float32", 30_001, 512, 50), ("float16", 9_999, 2048, 4096)]
    for dtype, n, d, k in [("float16", 70, 5, 4)] if small else large:

        def summed(dtype=dtype, n=n, d=d, k=k):
            rng = np.random.default_rng(d)
            x, label = rng.standard_normal((n, d)).astype(dtype), rng.integers(-1, k + 1, n).astype(np.int32)
            given = gpu.upload(x), gpu.upload(label)
            sums, counts = (gpu.download(one) for one in capi.centroid_sums(*given, k))
            again = [gpu.download(one) for one in capi.centroid_sums(*given, k)]
            same_bits(again[0], sums)
            known = (label >= 0) & (label < k)
            same_bits(counts, np.bincount(label[known], minlength=k).astype(np.int64))
            expected, _ = centroid_sums_host(x[known], label[known], k)
            size, _ = centroid_sums_host(np.abs(x[known]), label[known], k)
            return close(sums, expected, 2.0**-40 * size, "2^-41 of the sum of absolute values, and as much for the CPU's")

        yield f"centroid_sums {n} x {d}, {k} labels, {dtype}", summed

        def fixed(dtype=dtype, n=n, d=d, k=k):
            rng = np.random.default_rng(d)
            x, label = rng.standard_normal((n, d)).astype(dtype), rng.integers(-1, k + 1, (2, n)).astype(np.int32)
            label[1, rng.random(n) < 0.95] = -1  # as when few rows move
            found = capi.fixed_sums(gpu.upload(x), gpu.upload(label), k, 40)
            for ours, expected in zip(found, fixed_sums_host(x, label, k, 40)):
                same_bits(gpu.download(ours), expected)
            return {"sets": len(label)}

        yield f"fixed_sums {n} x {d}, {k} labels, {dtype}", fixed

        def unit(dtype=dtype, n=n, d=d):
            x = np.random.default_rng(d).standard_normal((n, d)).astype(dtype)
            for ours, expected in zip(capi.unit_rows(gpu.upload(x)), unit_rows_host(x)):
                same_bits(gpu.download(ours), expected)
            return {"rows": n}

        yield f"unit_rows {n} x {d}, {dtype}", unit


def timings(gpu, small: bool):
    sizes = [(40, 16, 5)] if small else [(1 << 20, 128, 50), (1 << 20, 128, 500), (1 << 20, 128, 919), (1 << 19, 512, 919), (1 << 18, 2048, 919)]
    for n, d, k in sizes:
        for dtype in ("float16", "float32"):
            for centres in ("random", "converged"):
                if centres == "converged" and (dtype == "float32" or d != 128):
                    continue

                def nearest(n=n, d=d, k=k, dtype=dtype, centres=centres):
                    centroids = np.random.default_rng(1).standard_normal((k, d)).astype(np.float32)
                    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
                    x, around = gpu.unit_rows(n, d, dtype, centroids if centres == "converged" else None), gpu.upload(centroids)
                    sides = {"ours": lambda: capi.nearest_centroid(x, around, scored=False)}
                    if dtype == "float32":
                        sides["ours, fp32 mode"] = lambda: capi.nearest_centroid(x, around, mode="fp32", scored=False)
                    if gpu.name == "torch":
                        torch, same = gpu.torch, around.to(x.dtype)
                        half = (around**2).sum(1).mul(-0.5).to(x.dtype)
                        sides["torch"] = lambda: [torch.addmm(half, part, same.T).argmax(1) for part in x.split(CHUNK)]
                    size = 2 if dtype == "float16" else 4
                    goals = {"torch": 3.0, "limit": 0.8 if d >= 512 or k <= 64 else 0.65} if dtype == "float16" else {}
                    case = f"{n} x {d}, {k} {centres} centroids, {dtype}"
                    return Timing("nearest_centroid", case, sides, 2.0 * n * d * k, float(size * n * d + 4 * k * d + 4 * n), "fp16", goals)

                yield f"nearest_centroid {d}, {k} {centres}, {dtype}", nearest

    for n, d, k in [(40, 16, 5)] if small else [(1 << 20, 128, 919), (1 << 19, 512, 919), (1 << 18, 2048, 919)]:
        for dtype in ("float16", "float32"):

            def summed(n=n, d=d, k=k, dtype=dtype):
                x, label = gpu.unit_rows(n, d, dtype, None), gpu.upload(np.random.default_rng(2).integers(0, k, n).astype(np.int32))
                sides = {"ours": lambda: capi.centroid_sums(x, label, k)}
                if gpu.name == "torch":
                    torch, ids = gpu.torch, label.long()

                    def peer():  # in float32, as sums of float16 would overflow its digits; a part at a time, for the copy
                        sums = torch.zeros(k, d, device="cuda")
                        for part, some in zip(x.split(CHUNK), ids.split(CHUNK)):
                            sums.index_add_(0, some, part.float())
                        return sums, torch.bincount(ids, minlength=k)

                    sides["torch"] = peer
                moved = float((2 if dtype == "float16" else 4) * n * d + 4 * n)
                return Timing("centroid_sums", f"{n} x {d}, {k} labels, {dtype}", sides, 0, moved, goals={"torch": 3.0, "limit": 0.7})

            yield f"centroid_sums {d}, {dtype}", summed

            def unit(n=n, d=d, dtype=dtype):
                x = gpu.unit_rows(n, d, dtype, None)
                sides = {"ours": lambda: capi.unit_rows(x)}
                if gpu.name == "torch":
                    sides["torch"] = lambda: gpu.torch.nn.functional.normalize(x.float(), eps=1e-8)
                moved = float(((2 if dtype == "float16" else 4) + 4) * n * d + 8 * n)
                return Timing("unit_rows", f"{n} x {d}, {dtype}", sides, 0, moved, goals={})

            yield f"unit_rows {d}, {dtype}", unit

            for share in (1.0, 0.05):

                def fixed(n=n, d=d, k=k, dtype=dtype, share=share):
                    rng = np.random.default_rng(2)
                    ids = np.where(rng.random((1, n)) < share, rng.integers(0, k, (1, n)), -1).astype(np.int32)
                    x, label, single = gpu.unit_rows(n, d, dtype, None), gpu.upload(ids), gpu.upload(ids[0])
                    sides = {"ours": lambda: capi.fixed_sums(x, label, k, 40), "centroid_sums": lambda: capi.centroid_sums(x, single, k)}
                    moved = share * n * d * (2 if dtype == "float16" else 4) + 4.0 * n + 8.0 * k * (d + 1)
                    goals = {"centroid_sums": 1.0, "limit": 0.7} if share == 1 else {}
                    return Timing("fixed_sums", f"{n} x {d}, {k} labels, {dtype}, {100 * share:g} % of the rows", sides, 0, moved, goals=goals)

                yield f"fixed_sums {d}, {dtype}, {100 * share:g} %", fixed

    def from_host():
        n, d, k = (40, 16, 5) if small else (1 << 18, 512, 919)
        rng = np.random.default_rng(3)
        x, centroids = rng.standard_normal((n, d), np.float32), rng.standard_normal((k, d), np.float32)

        def ours():
            return gpu.download(capi.nearest_centroid(gpu.upload(x), gpu.upload(centroids), scored=False)[0])

        sides = {"ours": ours}
        faiss = faiss_gpu_or_none()
        if faiss is not None:
            resources = faiss.StandardGpuResources()

            def peer():
                index = faiss.GpuIndexFlatL2(resources, d)
                index.add(centroids)
                return index.search(x, 1)

            sides["faiss-gpu"] = peer
        moved = 4.0 * n * d
        return Timing("nearest_centroid", f"{n} x {d}, {k} centroids, from and to host", sides, 2.0 * n * d * k, moved, "fp16", {"faiss-gpu": 10.0})

    yield "nearest_centroid from host data", from_host

    def iteration():
        """What DevicePass does with a block (GOAL-K4: 20 passes over 1,183,322 rows in 8 s on an H200)."""
        n, d, k, r = (40, 16, 5, 3) if small else (1 << 17, 2048, 919, 30)
        rng = np.random.default_rng(4)
        sets = rng.standard_normal((r, k, d), np.float32)
        raw, around = gpu.unit_rows(n, d, "float16", None), gpu.upload(sets / np.linalg.norm(sets, axis=2, keepdims=True))
        moved = gpu.upload(np.where(rng.random((r, n)) < 0.05, rng.integers(0, k, (r, n)), -1).astype(np.int32))

        def ours():
            x, _ = capi.unit_rows(raw)
            return capi.nearest_centroid(x, around, scored=False)[0], capi.fixed_sums(x, moved, k, 40), capi.fixed_sums(x, moved, k, 40)

        goals = {} if small else {"seconds": 8.0 / 20 * n / 1_183_322}
        return Timing("k-means", f"one pass over {n} x {d}, {k} centroids, {r} sets", {"ours": ours}, 2.0 * n * d * k * r, 2.0 * n * d, "fp16", goals)

    yield "k-means, a pass", iteration


def faiss_gpu_or_none():
    try:
        import faiss
    except ImportError:
        return None
    return faiss if hasattr(faiss, "StandardGpuResources") else None
