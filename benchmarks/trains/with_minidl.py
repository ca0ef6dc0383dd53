"""The cold run in minidl, eager."""

from task import SIZES, START, train

from minidl import functions as F
from minidl import layers, no_grad, optim

model = layers.MLP(SIZES[1:], in_features=SIZES[0])
for layer, (w, b) in zip(model.layers, START):
    layer.w.data, layer.b.data = w, b
optimizer = optim.Adam(model, lr=1e-3)


def step(x, t):
    loss = F.cross_entropy(model(x), t)
    optimizer.cleargrads()
    loss.backward()
    optimizer.update()


def predict(x):
    with no_grad():
        return model(x).data


train(step, predict)
