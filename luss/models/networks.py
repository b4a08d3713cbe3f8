"""The three networks of PASS: pre-training, pixel attention, fine-tuning (spec/pass.md 2.2 to 2.4).

Attribute names spell the keys of the published checkpoints.
"""

from __future__ import annotations

from engine.ops.attention_head import HeadWeights, attention_head
from engine.ops.attention_pool import attention_pool, pixel_norms
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
    """The head `fbg`: logits of the attention a pixel and channel, at four times the encoder's resolution."""

    def __init__(self, channels: int):
        self.threshold = jt.zeros((1, channels, 1, 1))
        self.atten = nn.Sequential(
            conv(channels, channels, 1, bias=True), BatchNorm(channels), nn.ReLU(), conv(channels, channels, 1, bias=True), BatchNorm(channels)
        )

    def execute(self, features, norms):
        """(N, C, h, w) features and the (N, 1, 4h, 4w) pixel norms of their enlargement -> logits before the threshold, (N, C, 4h, 4w).

        The first 1x1 convolution runs on the small map: it commutes with bilinear enlargement and with the division by the
        pixel's norm (spec/pass.md, section 4), and is 16 times cheaper there.
        """
        first, bn1, relu, second, bn2 = (self.atten[i] for i in range(5))
        small = nn.conv2d(features, first.weight)
        x = upsample_bilinear(small, norms.shape[2:]) / norms + first.bias.broadcast([1, first.bias.shape[0], 1, 1], [0, 2, 3])
        return bn2(second(relu(bn1(x))))

    def folded(self) -> HeadWeights:
        """The head at inference: biases, running statistics and threshold in one scale and one shift a convolution."""
        first, bn1, _, second, bn2 = (self.atten[i] for i in range(5))
        parts = []
        for layer, bn in ((first, bn1), (second, bn2)):
            scale = bn.weight / jt.sqrt(bn.running_var + bn.eps)
            parts += [layer.weight.reshape(layer.weight.shape[:2]), scale, (layer.bias - bn.running_mean) * scale + bn.bias]
        parts[-1] = parts[-1] + self.threshold.reshape(-1)
        return HeadWeights(*parts)


class AttentionNet(ResNet):
    """Stage 2: encoder, attention head, projection head and prototypes."""

    def __init__(self, arch="resnet18", width=64, hidden=512, feat_dim=128, prototypes=500):
        super().__init__(arch, width)
        self.projection_head = projection_head(self.channels[3], hidden, feat_dim)
        self.prototypes = linear(feat_dim, prototypes, bias=False)
        self.fbg = PixelAttention(self.channels[3])

    def execute(self, groups):
        """Training pass over resolution groups (n_g b, 3, s, s): unit embeddings and prototype scores of all crops.

        Encoder and projection head get no parameter gradient; the encoder needs no graph at all.
        """
        pooled = []
        for x in groups:
            with jt.no_grad():
                c4 = self.features(x)
                norms = pixel_norms(c4)
            pooled.append(attention_pool(c4, self.fbg(c4, norms), self.fbg.threshold.reshape(-1), norms=norms))
        embedding = l2_normalize(self.projection_head(jt.concat(pooled, dim=0)))
        return embedding, nn.matmul_transpose(embedding, self.prototypes.weight)

    def pool(self, x):
        """Clustering features: mean over pixels of attention times the *un-normalised* map (spec/pass.md 2.3), (N, C4).

        The head's BatchNorm layers take their running statistics here, as they do in `attention`.
        """
        return attention_head(self.features(x), self.fbg.folded(), attention=False)[0]

    def attention(self, x):
        """(c4, m): the encoder's features (N, C4, h, w) and the channel mean of the attention (N, 1, 4h, 4w)."""
        c4 = self.features(x)
        return c4, attention_head(c4, self.fbg.folded(), pooled=False)[1]


class FinetuneNet(ResNet):
    """Stage 3: encoder and a 1x1 classifier over K + 1 classes; logits at the encoder's stride."""

    def __init__(self, arch="resnet18", width=64, num_classes=50, output_stride=32):
        super().__init__(arch, width, output_stride)
        self.last_layer = conv(self.channels[3], num_classes + 1, 1, bias=True)

    def execute(self, x):
        return self.last_layer(self.features(x))
