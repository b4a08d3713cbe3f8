"""pixel_nearest_centroid against the published order of operations in PyTorch: cluster of each pixel of 4 images of 375 x 500, hot path K2.

    python bench/bench_pixel_nearest_centroid.py [--rounds N] [--only TEXT] [--json FILE]

Features as an encoder of stride 32 gives them for an image of 256 x 341: (C, 8, 11), not negative; centroids: normal numbers. The peer enlarges
the features four times, normalises them, multiplies, takes the argmax, enlarges by nearest and applies the attention's threshold.
"""

from __future__ import annotations

from harness import Case, main, benchmark_of, torch_or_none  # isort: skip  (before NumPy)

import numpy as np

from engine.ops.pixel_nearest_centroid import pixel_nearest_centroid_host, unit_rows

IMAGES, SIZE, MAP, FACTOR = 4, (375, 500), (8, 11), 4
PIXELS = IMAGES * SIZE[0] * SIZE[1]


def case(depth: int, clusters: int) -> Case:
    def prepare():
        rng = np.random.default_rng(depth + clusters)
        features = np.maximum(rng.standard_normal((IMAGES, depth, *MAP), np.float32), 0)
        centroids = rng.standard_normal((clusters, depth), np.float32)
        attention = rng.random((IMAGES, FACTOR * MAP[0], FACTOR * MAP[1]), np.float32)

        def ours():
            return pixel_nearest_centroid_host(features, centroids, [SIZE] * IMAGES, attention=attention, threshold=0.4, threads=1)

        sides = {"ours": ours}
        torch = torch_or_none()
        if torch is not None:
            x, m, unit = torch.from_numpy(features), torch.from_numpy(attention)[:, None], torch.from_numpy(unit_rows(centroids))
            enlarge = torch.nn.functional.interpolate

            def peer():
                with torch.inference_mode():
                    f = torch.nn.functional.normalize(enlarge(x, scale_factor=FACTOR, mode="bilinear", align_corners=False), dim=1)
                    labels = torch.matmul(unit, f.flatten(2)).argmax(1).reshape(IMAGES, 1, *f.shape[2:]) + 1
                    labels = enlarge(labels.float(), SIZE, mode="nearest").int()
                    labels[enlarge(m, SIZE, mode="bilinear", align_corners=False) < 0.4] = 0
                    return labels[:, 0].numpy()

            sides["torch"] = peer
            differ = int((np.stack(ours()) != peer()).sum())
            if differ > PIXELS // 1000:
                raise SystemExit(f"{differ} labels differ: more than ties of scores and of the threshold explain")
            if differ:
                print(f"{differ} of {PIXELS} labels differ")
        return sides

    small = IMAGES * MAP[0] * MAP[1]
    moved = 4.0 * (depth * (small + clusters) + PIXELS)
    return Case("pixel_nearest_centroid", f"{clusters} clusters, {depth} channels", prepare, 2.0 * clusters * depth * small, moved)


def cases() -> list[Case]:
    return [case(depth, clusters) for depth in (512, 2048) for clusters in (50, 300, 919)]


test_pixel_nearest_centroid = benchmark_of(cases)
if __name__ == "__main__":
    main(cases)
