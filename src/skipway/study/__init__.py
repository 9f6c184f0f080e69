"""The studies by name."""

from skipway.study.engine.experiment import Study
from skipway.study.experiments import (
    activation_order,
    architectures,
    batchnorm,
    degradation,
    depth,
    ensemble,
    generation,
    gradients,
    highway,
    identity,
    landscape,
    propagation,
    regularisers,
    responses,
    shortcuts,
    unit_ablation,
)

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        degradation.STUDY,
        degradation.AT_64,
        depth.STUDY,
        gradients.STUDY,
        shortcuts.STUDY,
        activation_order.STUDY,
        highway.STUDY,
        batchnorm.STUDY,
        identity.STUDY,
        propagation.STUDY,
        responses.STUDY,
        unit_ablation.STUDY,
        architectures.STUDY,
        regularisers.STUDY,
        ensemble.STUDY,
        landscape.STUDY,
        generation.STUDY,
    )
}
