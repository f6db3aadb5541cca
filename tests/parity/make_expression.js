// Writes expression_face_api.json: what face-api itself makes of three drawn images. Run once, by hand:
//   npm install @vladmandic/face-api@1.7.15 @tensorflow/tfjs@4 @tensorflow/tfjs-backend-wasm@4
//   node make_expression.js images.bin     (uint8, three images of 112 x 112 x 3, from make_expression.py)
const fs = require("node:fs");
require("@tensorflow/tfjs");
require("@tensorflow/tfjs-backend-wasm");
const faceapi = require("@vladmandic/face-api/dist/face-api.node-wasm.js");

(async () => {
  await faceapi.tf.setBackend("cpu");
  await faceapi.tf.ready();
  const net = faceapi.nets.faceExpressionNet;
  await net.loadFromDisk("node_modules/@vladmandic/face-api/model");
  const images = new Uint8Array(fs.readFileSync(process.argv[2]));
  const size = 112 * 112 * 3;
  const features = [];
  for (let start = 0; start < images.length; start += size) {
    const image = faceapi.tf.tensor(images.slice(start, start + size), [1, 112, 112, 3], "int32").toFloat();
    const output = net.faceFeatureExtractor.forwardInput(await faceapi.toNetInput(image));
    features.push(Array.from(await output.data()));
  }
  fs.writeFileSync("expression_face_api.json", JSON.stringify(features));
})();
