"""scikit-learn's handwritten digits: 1,797 grey images of 8 x 8 pixels, included in the library.

E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. UCI, 1998 (CC BY 4.0). Values 0 to 16
are scaled to 0 to 255. The set has no split; a fixed fifth of each class is the test split.
"""

import numpy as np

from skipway.data.dataset import Dataset, Split


def open_digits() -> Dataset:
    # imported here, because the import takes a second
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    everything = Split(pixels, labels.astype(np.int64), [f"digits[{i}]" for i in range(len(labels))])
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    classes = tuple(str(digit) for digit in range(10))
    return Dataset("digits", classes, everything.take(np.sort(train)), test=everything.take(np.sort(test)))
