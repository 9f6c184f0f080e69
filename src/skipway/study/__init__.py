"""Every study by name."""

from skipway.study import (
    batchnorm,
    degradation,
    depth,
    ensemble,
    family,
    gradients,
    highway,
    identity,
    landscape,
    lesion,
    order,
    propagation,
    responses,
    shortcuts,
)
from skipway.study.contract import Study

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        degradation.STUDY,
        degradation.AT_64,
        depth.STUDY,
        gradients.STUDY,
        shortcuts.STUDY,
        order.STUDY,
        highway.STUDY,
        batchnorm.STUDY,
        identity.STUDY,
        propagation.STUDY,
        responses.STUDY,
        lesion.STUDY,
        family.STUDY,
        ensemble.STUDY,
        landscape.STUDY,
    )
}
