// The mask of raw RGB pixels by an exported network, under Node or, with onnxruntime-web, in a page:
// node onnx_predict.mjs model.onnx pixels.rgb HEIGHT WIDTH mask.raw
// Needs onnxruntime-node. The pixels are bytes, three for each pixel, row by row; so is the mask, one each.
import { readFile, writeFile } from "node:fs/promises";
import * as ort from "onnxruntime-node";

const [model, source, height, width, target] = process.argv.slice(2);
const session = await ort.InferenceSession.create(model);
const pixels = new Uint8Array(await readFile(source));
const image = new ort.Tensor("uint8", pixels, [1, Number(height), Number(width), 3]);
const { mask } = await session.run({ image });
await writeFile(target, mask.data);
