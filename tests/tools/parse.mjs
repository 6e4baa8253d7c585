// Prints what Mermaid itself reads from a flowchart: vertices and edges as JSON.
import fs from "node:fs";
import { JSDOM } from "jsdom";

const dom = new JSDOM("<body></body>");
globalThis.window = dom.window;
globalThis.document = dom.window.document;
const mermaid = (await import("mermaid")).default;
mermaid.initialize({ securityLevel: "strict" });
const diagram = await mermaid.mermaidAPI.getDiagramFromText(fs.readFileSync(process.argv[2], "utf8"));
const found = diagram.db.getVertices();
const vertices = found instanceof Map ? [...found.values()] : Object.values(found);
console.log(JSON.stringify({
  vertices: vertices.map((each) => ({ id: each.id, text: each.text, shape: each.type })),
  edges: diagram.db.getEdges().map((each) => ({ start: each.start, end: each.end, text: each.text, stroke: each.stroke })),
}));
