"""The cold run in scikit-learn: MLPClassifier, batch by batch. It draws its first weights itself."""

import numpy as np
from sklearn.neural_network import MLPClassifier
from task import BATCH, SIZES, train

# alpha: no weight decay, as elsewhere
model = MLPClassifier((SIZES[1],), batch_size=BATCH, alpha=0.0, random_state=0)
classes = np.arange(SIZES[2])


def step(x, t):
    model.partial_fit(x, t, classes=classes)


train(step, model.predict_proba)
