"""The three networks of PASS: pre-training, pixel attention, fine-tuning (spec/pass.md 2.2 to 2.4).

Attribute names spell the keys of the published checkpoints.
"""

from __future__ import annotations

from engine.ops.upsample import upsample_bilinear
from engine.runtime import jt

from .layers import BatchNorm, conv, global_mean, l2_normalize, linear
from .resnet import ResNet

nn = jt.nn


def projection_head(inputs: int, hidden: int, outputs: int):
    return nn.Sequential(linear(inputs, hidden), BatchNorm(hidden), nn.ReLU(), linear(hidden, outputs), BatchNorm(outputs, affine=False))


def pixel_projection_head(inputs: int, hidden: int, outputs: int):
    return nn.Sequential(
        conv(inputs, hidden, 1),
        BatchNorm(hidden),
        nn.ReLU(),
        conv(hidden, hidden, 1),
        BatchNorm(hidden),
        nn.ReLU(),
        conv(hidden, outputs, 1),
        BatchNorm(outputs, affine=False),
    )


class _Named(nn.Module):
    """Holds modules under names chosen at run time."""

    def __init__(self, modules: dict):
        for name, module in modules.items():
            setattr(self, name, module)


class PretrainNet(ResNet):
    """Stage 1: encoder, global, pixel and shallow heads, prototypes."""

    def __init__(self, arch="resnet18", width=64, hidden=512, feat_dim=128, prototypes=500, shallow=(3,)):
        super().__init__(arch, width)
        c4 = self.channels[3]
        self.shallow = tuple(shallow)
        self.projection_head = projection_head(c4, hidden, feat_dim)
        self.projection_head_shallow = _Named(
            {f"projection_head_shallow{s}": projection_head(self.channels[s - 1], hidden, feat_dim) for s in self.shallow}
        )
        self.projection_head_pixel_shallow = _Named(
            {f"projection_head_pixel{s}": pixel_projection_head(self.channels[s - 1], hidden, self.channels[s - 1]) for s in self.shallow}
        )
        self.projection_head_pixel = pixel_projection_head(c4, hidden, feat_dim)
        self.predictor_head_pixel = nn.Sequential(conv(feat_dim, feat_dim, 1), BatchNorm(feat_dim), nn.ReLU(), conv(feat_dim, feat_dim, 1, bias=True))
        self.prototypes = linear(feat_dim, prototypes, bias=False)

    def execute(self, groups, grid_q, grid_k):
        """Forward pass of one step.

        Args:
            groups: one (n_g b, 3, s, s) batch a resolution, crop-major; the first has two crops.
            grid_q, grid_k: (b, 7, 7, 2) correspondence grids of the first two crops.

        Returns:
            embedding ((V + 2 |shallow|) b, feat_dim), unit rows: all crops, then the two large ones of each shallow stage;
            scores, same rows, (.., prototypes); z and p, the sampled pixel embedding and its prediction, (2 b, feat_dim, 7, 7).
        """
        *shallow_maps, c4 = self.stages(groups[0])
        grid = jt.concat([grid_q, grid_k], dim=0)
        z = nn.grid_sample(self.projection_head_pixel(c4), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        p = self.predictor_head_pixel(z)
        pooled = [global_mean(c4)] + [global_mean(self.features(x)) for x in groups[1:]]
        embedding = [l2_normalize(self.projection_head(jt.concat(pooled, dim=0)))]
        scores = [nn.matmul_transpose(embedding[0], self.prototypes.weight)]
        fixed = self.prototypes.weight.detach()
        for stage in self.shallow:
            pixels = getattr(self.projection_head_pixel_shallow, f"projection_head_pixel{stage}")(shallow_maps[stage - 1])
            vectors = l2_normalize(getattr(self.projection_head_shallow, f"projection_head_shallow{stage}")(global_mean(pixels)))
            embedding.append(vectors)
            scores.append(nn.matmul_transpose(vectors, fixed))
        return jt.concat(embedding, dim=0), jt.concat(scores, dim=0), z, p


class PixelAttention(nn.Module):
    """The head `fbg`: attention in (0, 1) a pixel and channel, at four times the encoder's resolution."""

    def __init__(self, channels: int):
        self.threshold = jt.zeros((1, channels, 1, 1))
        self.atten = nn.Sequential(
            conv(channels, channels, 1, bias=True), BatchNorm(channels), nn.ReLU(), conv(channels, channels, 1, bias=True), BatchNorm(channels)
        )

    def execute(self, features, norm):
        """(N, C, h, w) features and the (N, 1, 4h, 4w) pixel norms of their enlargement -> (N, C, 4h, 4w).

        The first 1x1 convolution runs on the small map: it commutes with bilinear enlargement and with the division by the
        pixel's norm (spec/pass.md, section 4), and is 16 times cheaper there.
        """
        first, bn1, relu, second, bn2 = (self.atten[i] for i in range(5))
        small = nn.conv2d(features, first.weight)
        x = upsample_bilinear(small, norm.shape[2:]) / norm + first.bias.broadcast([1, first.bias.shape[0], 1, 1], [0, 2, 3])
        return jt.sigmoid(bn2(second(relu(bn1(x)))) + self.threshold)


class AttentionNet(ResNet):
    """Stage 2: encoder, attention head, projection head and prototypes."""

    def __init__(self, arch="resnet18", width=64, hidden=512, feat_dim=128, prototypes=500):
        super().__init__(arch, width)
        self.projection_head = projection_head(self.channels[3], hidden, feat_dim)
        self.prototypes = linear(feat_dim, prototypes, bias=False)
        self.fbg = PixelAttention(self.channels[3])

    def enlarge(self, c4):
        """(f, norm): c4 at four times its size, and each pixel's L2 norm over channels (at least 1e-12)."""
        f = upsample_bilinear(c4, (4 * c4.shape[2], 4 * c4.shape[3]))
        return f, jt.sqrt((f * f).sum(1, keepdims=True).maximum(1e-24))

    def execute(self, groups):
        """Training pass over resolution groups (n_g b, 3, s, s): unit embeddings and prototype scores of all crops.

        Encoder and projection head get no parameter gradient; the encoder needs no graph at all.
        """
        pooled = []
        for x in groups:
            with jt.no_grad():
                c4 = self.features(x)
                f, norm = self.enlarge(c4)
                unit = f / norm
            pooled.append(global_mean(unit * self.fbg(c4, norm)))
        embedding = l2_normalize(self.projection_head(jt.concat(pooled, dim=0)))
        return embedding, nn.matmul_transpose(embedding, self.prototypes.weight)

    def pool(self, x):
        """Clustering features: mean over pixels of attention times the *un-normalised* map (spec/pass.md 2.3), (N, C4)."""
        c4 = self.features(x)
        f, norm = self.enlarge(c4)
        return global_mean(f * self.fbg(c4, norm))

    def attention(self, x):
        """(c4, m): the encoder's features (N, C4, h, w) and the channel mean of the attention (N, 1, 4h, 4w)."""
        c4 = self.features(x)
        _, norm = self.enlarge(c4)
        return c4, self.fbg(c4, norm).mean(dim=1, keepdims=True)


class FinetuneNet(ResNet):
    """Stage 3: encoder and a 1x1 classifier over K + 1 classes; logits at the encoder's stride."""

    def __init__(self, arch="resnet18", width=64, num_classes=50, output_stride=32):
        super().__init__(arch, width, output_stride)
        self.last_layer = conv(self.channels[3], num_classes + 1, 1, bias=True)

    def execute(self, x):
        return self.last_layer(self.features(x))
