// Models made by TensorFlow.js itself, with what it computes: node tfjs.js FOLDER [CONVERTED...]
// Needs `npm install @tensorflow/tfjs@4.22.0`. Each converted folder with a model.json gets a case.json too.
const fs = require('fs'), path = require('path');
const tf = require('@tensorflow/tfjs');

const folder = process.argv[2];
const L = tf.layers;

function numbers(shape, seed) {  // the same ones in every run, in [-2, 2)
  const size = shape.reduce((a, b) => a * b, 1);
  const values = new Float32Array(size);
  let state = seed;
  for (let i = 0; i < size; i++) { state = (state * 1103515245 + 12345) % 2147483648; values[i] = state / 536870912 - 2; }
  return values;
}

function weighted(model) {  // initial biases are zeros, which would hide their order
  model.setWeights(model.getWeights().map((w, i) => tf.tensor(numbers(w.shape, i + 7), w.shape).mul(0.5)));
  return model;
}

function masked(shape) {  // a gap in the middle, a padded beginning and end, and a sample of padding alone
  const values = numbers(shape, 3), [samples, timesteps, features] = shape;
  const drop = (s, t) => values.fill(0, (s * timesteps + t) * features, (s * timesteps + t + 1) * features);
  drop(0, 2); drop(1, 0); drop(1, 1); drop(2, timesteps - 1);
  for (let t = 0; t < timesteps; t++) drop(3, t);
  return tf.tensor(values, shape);
}

const inputShape = [5, 3];
const masking = () => L.masking({maskValue: 0, inputShape});
const made = {
  lstm: () => [tf.sequential({layers: [L.lstm({units: 4, inputShape, returnSequences: true}), L.dense({units: 2})]})],
  masked_lstm: () => [tf.sequential({layers: [masking(), L.lstm({units: 4, returnSequences: true})]})],
  masked_backwards: () => [tf.sequential({layers: [masking(), L.lstm({units: 4, goBackwards: true, returnSequences: true, recurrentActivation: 'sigmoid'})]})],
  masked_gru: () => [tf.sequential({layers: [masking(), L.gru({units: 4, returnSequences: true}), L.gru({units: 3})]})],
  masked_simple_rnn: () => [tf.sequential({layers: [masking(), L.simpleRNN({units: 4, returnSequences: true})]})],
  bidirectional: () => [tf.sequential({layers: [
    masking(),
    L.bidirectional({layer: L.lstm({units: 3, returnSequences: true}), mergeMode: 'concat'}),
    L.bidirectional({layer: L.gru({units: 2}), mergeMode: 'sum'}),
    L.dense({units: 1, activation: 'sigmoid'})]})],
  embedding: () => [tf.sequential({layers: [
    L.embedding({inputDim: 9, outputDim: 3, maskZero: true, inputLength: 6}), L.lstm({units: 3}), L.dense({units: 2, activation: 'softmax'})]}),
    tf.tensor([[1, 2, 0, 4, 5, 0], [0, 0, 3, 8, 1, 2], [7, 6, 5, 4, 3, 2]], [3, 6], 'int32')],
  decoder: () => {  // starts from the encoder's states
    const source = tf.input({shape: [4, 2]}), target = tf.input({shape: [3, 2]});
    const [, h, c] = L.lstm({units: 3, returnState: true}).apply(source);
    const [sequence] = L.lstm({units: 3, returnState: true, returnSequences: true}).apply(target, {initialState: [h, c]});
    const out = L.timeDistributed({layer: L.dense({units: 2})}).apply(sequence);
    return [tf.model({inputs: [source, target], outputs: out}), [tf.tensor(numbers([2, 4, 2], 5), [2, 4, 2]), tf.tensor(numbers([2, 3, 2], 6), [2, 3, 2])]];
  },
};

function listed(tensor) { return {shape: tensor.shape, values: Array.from(tensor.dataSync())}; }

function record(model, x, where) {
  const y = model.predict(x);
  const all = value => (Array.isArray(value) ? value : [value]).map(listed);
  fs.writeFileSync(path.join(where, 'case.json'), JSON.stringify({inputs: all(x), outputs: all(y)}));
}

const saver = where => tf.io.withSaveHandler(async artifacts => {
  fs.mkdirSync(where, {recursive: true});
  fs.writeFileSync(path.join(where, 'weights.bin'), Buffer.from(artifacts.weightData));
  fs.writeFileSync(path.join(where, 'model.json'), JSON.stringify({
    modelTopology: artifacts.modelTopology, format: artifacts.format, generatedBy: artifacts.generatedBy,
    convertedBy: artifacts.convertedBy,
    weightsManifest: [{paths: ['weights.bin'], weights: artifacts.weightSpecs}]}));
  return {modelArtifactsInfo: {dateSaved: new Date(0), modelTopologyType: 'JSON'}};
});

const loader = where => ({load: async () => {
  const found = JSON.parse(fs.readFileSync(path.join(where, 'model.json')));
  const specs = found.weightsManifest.flatMap(group => group.weights);
  const data = Buffer.concat(found.weightsManifest.flatMap(group => group.paths).map(name => fs.readFileSync(path.join(where, name))));
  return {modelTopology: found.modelTopology, format: found.format, weightSpecs: specs,
          weightData: data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)};
}});

(async () => {
  for (const [name, make] of Object.entries(made)) {
    const [model, x] = make();
    weighted(model);
    await model.save(saver(path.join(folder, name)));
    record(model, x || masked([4, ...inputShape]), path.join(folder, name));
  }
  for (const where of process.argv.slice(3)) {
    const model = await tf.loadLayersModel(loader(where));
    const shape = model.inputs[0].shape.map((size, i) => size || (i ? 6 : 3));
    record(model, tf.tensor(numbers(shape, 4), shape), where);
  }
})();
