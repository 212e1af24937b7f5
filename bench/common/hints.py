"""Suggestions for unknown names: other spellings, other names in the field, and common slips."""

import difflib
import re
from collections.abc import Iterable

SUGGESTIONS = {
    # algorithms
    "allreduce_sgd": "ddp allreduce syncsgd dataparallel distributeddataparallel horovod "
    "minibatchsgd largebatchsgd synchronous",
    "lagged_allreduce_sgd": "pipesgd delayedsgd gradientlag",
    "local_sgd": "fedavg fedsgd federatedaveraging modelaveraging parameteraveraging",
    "hierarchical_local_sgd": "hierarchicalsgd hierfavg",
    "slowmo": "bmuf fedavgm slowmomentum",
    "push_sum": "sgp gradientpush stochasticgradientpush gossip",
    "overlap_push_sum": "osgp",
    "d_psgd": "dsgd gossipsgd decentralizedsgd decentralised decentralized",
    "gradient_tracking": "dsgt gnsd next",
    "exact_diffusion": "d2 extra",
    "relay_sgd": "relay relaysum",
    "qg_momentum": "qgdsgdm qgm quasiglobal",
    "choco_sgd": "choco chocogossip",
    "elastic_averaging": "easgd elasticsgd elastic",
    "island": "islands islandmodel multigroup",
    "async_elastic_averaging": "aeasgd asynceasgd",
    "downpour": "hogwild asgd asyncsgd asynchronous parameterserver",
    # all-reduces and topologies
    "ring": "ringallreduce cycle circle",
    "recursive_doubling": "butterfly rd",
    "rabenseifner": "halvingdoubling recursivehalving recursivehalvingdoubling rhd "
    "reducescatterallgather",
    "segmented_ring": "pipelinedring chunkedring",
    "binomial_tree": "tree reducebroadcast",
    "binary_tree": "tree",
    "double_binary_tree": "doubletree dbt",
    "shared_memory": "shm sharedmem",
    "library": "mpi mpiallreduce openmpi mpich native builtin nccl",
    "auto": "autotune tuned best fastest",
    "star": "centralized centralised naive parameterserver",
    "torus": "2dtorus 2dring mesh grid",
    "complete": "full fullyconnected clique fullmesh alltoall",
    "chain": "line path",
    "exponential": "exp onepeer onepeerexponential",
    "random_regular": "regular expander",
    "random_pair": "matching randommatching pairwise pairs",
    "erdos_renyi": "er gnp randomgraph random",
    "epidemic": "el epidemiclearning",
    "hypercube": "cube",
    # compressors
    "identity": "none uncompressed",
    "sign": "signsgd onebit 1bit",
    "top_k": "dgc sparsify sparse",
    "qsgd": "quantize quantise quantized quantised quantization quantisation",
    # partitions
    "iid": "uniform random homogeneous",
    "dirichlet:alpha=0.1": "noniid heterogeneous lda labelskew",
    "shards": "pathological",
    "strided": "roundrobin",
    "clusters": "kmeans",
    "rotation": "rotate rotated",
    "label_noise": "noisylabels labelflip",
    "populations": "conceptshift permutedlabels clustered",
    "feature_noise": "noise gaussiannoise",
    "power_law": "powerlaw lognormal zipf",
    # tasks, with the data sets of bench.fetch
    "mlp --data data/mnist, after `python -m bench.fetch mnist`": "mnist",
    "mlp --data data/fashion_mnist, after `python -m bench.fetch fashion_mnist`": "fashionmnist",
    "mlp --data data/kmnist, after `python -m bench.fetch kmnist`": "kmnist",
    "mlp --data data/emnist, after `python -m bench.fetch emnist`": "emnist femnist",
    "cnn --data data/cifar10, after `python -m bench.fetch cifar10`": "cifar cifar10",
    "cnn --data data/cifar100, after `python -m bench.fetch cifar100`": "cifar100",
    "transformer --data data/tinyshakespeare, after `python -m bench.fetch tinyshakespeare`": (
        "shakespeare tinyshakespeare charlm lm gpt text"
    ),
    "cnn": "convnet lenet resnet resnet18 vgg",
    "mlp": "perceptron nn dnn dense feedforward",
    "logistic": "logreg logisticregression softmax",
    "quadratic": "quadratics leastsquares linear regression",
    # optimizers and options of names
    "sgd:lr=0.1,momentum=0.9": "momentum sgdm momentumsgd nesterov heavyball",
    "adam": "adamax nadam radam amsgrad rmsprop adagrad adadelta lion",
    "lr": "learningrate stepsize eta rate",
    "period": "tau h k localsteps every frequency interval",
    "topology": "graph network",
    "weight_decay": "wd l2 decay",
    "alpha": "concentration beta",
    "compressor": "compression",
    # options of programs; VALUE is replaced by the value that follows
    "--algorithm": "algo alg method strategy",
    "--algorithms": "algo alg allreduces",
    "--task": "model arch problem net",
    "--data": "dataset datadir datapath",
    "--partition": "split separation distribution",
    "--partition dirichlet:alpha=VALUE": "alpha",
    "--optimizer": "opt optim optimiser",
    "--optimizer sgd:lr=VALUE": "lr learningrate",
    "--optimizer sgd:lr=0.1,momentum=VALUE": "momentum",
    "--optimizer sgd:lr=0.1,weight_decay=VALUE": "wd weightdecay",
    "--algorithm push_sum:topology=VALUE": "topology graph",
    "--algorithm local_sgd:period=VALUE": "period tau localsteps",
    "--algorithm choco_sgd:compressor=VALUE": "compressor compression",
    "--allreduce": "collective reduce",
    "--batch": "batchsize bs minibatch",
    "--steps": "iters iterations niters nsteps maxsteps numsteps",
    "--epochs": "epoch nepochs",
    "--workers": "numworkers nworkers clients nodes np nproc gpus",
    "--eval-every": "evalinterval evalfreq evaluateevery testevery",
    "--out": "output outdir outputdir outfile folder savedir dir o",
    "--overwrite": "force f",
    "--resume": "continue restart",
    "--link latency=VALUE": "latency",
    "--link bandwidth=VALUE": "bandwidth",
    "--drop": "droprate lossrate dropout",
    "--straggler": "stragglers slow delay",
    "--dtype": "precision type",
    "--watchdog": "timeout",
    "--html": "page web",
    "--figures": "plots plot figure charts",
    "plain": "torch pytorch",
    "float64": "fp64 double f64",
    "float32": "fp32 single f32 float",
    # programs
    "train": "run start",
    "report": "plot show results",
    "fetch": "download",
    "collectives": "allreduce benchmark",
    "list": "ls names catalogue catalog",
    "partition": "split",
}
"""Suggestion, which begins with a registered name or an option -> other names, normalised."""


def normalised(name: str) -> str:
    """Return a name in lower case without separators: `D-PSGD` and `d_psgd` are `dpsgd`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """Return the known name, or a text that begins with one, that an unknown name stands for.

    The same letters come first, then another name in the field, then a similar spelling.
    """
    names = list(known)
    plain = normalised(name)
    for other in names:
        if plain and normalised(other) == plain:
            return other
    for text, others in SUGGESTIONS.items():
        head, _, rest = text.partition(" ")
        bare = head.removeprefix("--")
        if plain not in others.split():
            continue
        if head in names or head.partition(":")[0] in names:
            return text
        if bare != head and bare in names:  # an option in a TOML file
            return f"{bare} = {rest!r}" if rest and "," not in rest.partition(" ")[0] else bare
    near = difflib.get_close_matches(name, names, n=1) or difflib.get_close_matches(
        name.lower(), names, n=1
    )
    return near[0] if near else None
