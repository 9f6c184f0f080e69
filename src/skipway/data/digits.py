"""scikit-learn's handwritten digits: 1,797 grey images of 8 x 8 pixels, embedded in the library, so offline.

E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. UCI, 1998 (CC BY 4.0). Values 0 to 16
become 0 to 255. The set brings no split; a fifth of each class, chosen once and for all, is test.
"""

import numpy as np

from skipway.data.source import Source, Split


def open_digits() -> Source:
    # a second to import, which no other data set should cost
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    everything = Split(pixels, labels.astype(np.int64), [f"digits[{i}]" for i in range(len(labels))])
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    classes = tuple(str(digit) for digit in range(10))
    return Source("digits", classes, everything.take(np.sort(train)), test=everything.take(np.sort(test)))
