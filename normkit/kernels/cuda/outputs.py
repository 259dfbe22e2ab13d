"""Output functions with their losses, on rows (n, outputs): a team of at most a warp takes a sample."""

import numpy as np
from numba import cuda

from normkit.kernels.cuda import device
from normkit.kernels.cuda.sums import block_sum
from normkit.math import losses
from normkit.math.activations import FORMULAS
from normkit.math.exp import exp

_SOFTMAX, _LOGISTIC, _IDENTITY = (losses.CODES[name] for name in ("softmax", "logistic", "identity"))


def _softmax(norm):
    """Return measure(z, bias, base, outputs, lane, sums): the largest value of a row, and 1 / sum(exp(z - it))."""
    real, threads, has_bias = device.arithmetic(norm.dtype), norm.threads, norm.bias
    exchange, total = device.shuffle(threads), device.team_sum(threads, 1, norm.dtype)
    zero, one, lowest = real(0), real(1), real(-np.inf)

    def measure(z, bias, base, outputs, lane, sums):
        top = lowest
        j = np.int64(lane)
        while j < outputs:
            top = max(top, z[base + j] + bias[j] if has_bias else z[base + j])
            j += threads
        offset = threads // 2
        while offset > 0:
            top = max(top, exchange(top, offset))
            offset //= 2
        sums[0] = zero
        j = np.int64(lane)
        while j < outputs:
            sums[0] += exp((z[base + j] + bias[j] if has_bias else z[base + j]) - top)
            j += threads
        total(sums, sums, 0)
        return top, one / sums[0]

    return device.function(measure)


def _output(norm):
    """Return of(z, top, share): an output, from what `_softmax` found."""
    code = norm.code
    logistic = device.function(FORMULAS["logistic"][0])

    def of(z, top, share):
        if code == _SOFTMAX:
            return exp(z - top) * share
        if code == _LOGISTIC:
            return logistic(z)
        return z if code == _IDENTITY else exp(z)

    return device.function(of)


def predict(norm, capability):
    """Return the kernel for the outputs of z + bias; arguments: z, bias, out, n, outputs."""
    real, threads, teams = device.arithmetic(norm.dtype), norm.threads, norm.block // norm.threads
    code, has_bias, measure, output_of = norm.code, norm.bias, _softmax(norm), _output(norm)
    zero = real(0)

    def kernel(z, bias, out, n, outputs):
        lane = cuda.threadIdx.x % threads
        row = np.int64(cuda.blockIdx.x) * teams + cuda.threadIdx.x // threads
        base = min(row, n - 1) * outputs  # the other teams go through the motions
        sums = cuda.local.array(1, real)
        top, share = zero, zero
        if code == _SOFTMAX:
            top, share = measure(z, bias, base, outputs, lane, sums)
        j = np.int64(lane)
        while row < n and j < outputs:
            out[base + j] = output_of(z[base + j] + bias[j] if has_bias else z[base + j], top, share)
            j += threads

    return kernel


def loss(norm, capability):
    """Return the kernel for delta = share * (output - target), and each block's sum of share * loss.

    Arguments: z, bias, target (samples, width), order, steps (batches, 2), counter, share, delta (n, outputs),
    partials, n, outputs, width. The target of softmax is the number of the class, width 1.
    """
    real, threads, teams = device.arithmetic(norm.dtype), norm.threads, norm.block // norm.threads
    code, has_bias, measure, output_of = norm.code, norm.bias, _softmax(norm), _output(norm)
    cross_entropy, loss_of = device.function(losses.cross_entropy), device.function(losses.loss_of)
    block_total, block, zero, one = block_sum(norm.block), norm.block, real(0), real(1)
    eps, mean = float(np.finfo(real).eps), code == _IDENTITY

    def kernel(z, bias, target, order, steps, counter, share, delta, partials, n, outputs, width):
        me = cuda.threadIdx.x
        lane = me % threads
        row = np.int64(cuda.blockIdx.x) * teams + me // threads
        inside = row < n
        base = min(row, n - 1) * outputs
        shared, sums = cuda.shared.array(block, np.float64), cuda.local.array(1, real)
        top, scale = zero, zero
        if code == _SOFTMAX:
            top, scale = measure(z, bias, base, outputs, lane, sums)
        found = 0.0
        if inside:
            weight, k = share[row], order[steps[2 * counter[0]] + row]
            j = np.int64(lane)
            while j < outputs:
                p = output_of(z[base + j] + bias[j] if has_bias else z[base + j], top, scale)
                if code == _SOFTMAX:
                    right = j == np.int64(target[k])
                    found += np.float64(weight) * cross_entropy(np.float64(p), eps) if right else 0.0
                    delta[base + j] = (p - one if right else p) * weight
                else:
                    y = target[k * width + j]
                    found += np.float64(weight) * loss_of(code, np.float64(p), np.float64(y), eps)
                    delta[base + j] = (p - y) * weight
                j += threads
        # scikit-learn averages the squared error over outputs, but not its gradient
        found = block_total(found / outputs if mean else found, me, shared)
        if me == 0:
            partials[cuda.blockIdx.x] = found

    return kernel
