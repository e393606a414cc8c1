// The official openai npm package against an endpoint: prints what it got as one JSON object.
// Arguments: the endpoint's base URL, and the folder that holds node_modules.
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [baseURL, folder] = process.argv.slice(2);
const { OpenAI } = createRequire(resolve(folder, "package.json"))("openai");
const client = new OpenAI({ baseURL, apiKey: "x", maxRetries: 0, timeout: 10_000 });

const model = "simulated";
const messages = [{ role: "user", content: "Order ORD-123 costs 12.50." }];
const parameters = {
  type: "object",
  properties: { order: { type: "string" }, amount: { type: "number" }, rush: { type: "boolean" } },
  required: ["order", "amount", "rush"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "look_up", parameters } }];
const jsonSchema = { name: "Order", schema: parameters, strict: true };

async function streamed(body) {
  const stream = await client.chat.completions.create({
    model, messages, stream: true, stream_options: { include_usage: true }, ...body,
  });
  const seen = { text: "", name: "", arguments: "", reason: null, tokens: null };
  for await (const { choices, usage } of stream) {
    if (usage) seen.tokens = usage.total_tokens;
    for (const { delta, finish_reason } of choices) {
      seen.text += delta.content ?? "";
      seen.reason = finish_reason ?? seen.reason;
      for (const call of delta.tool_calls ?? []) {
        seen.name += call.function?.name ?? "";
        seen.arguments += call.function?.arguments ?? "";
      }
    }
  }
  return seen;
}

async function events(body) {
  const kinds = [];
  for await (const event of await client.responses.create({ model, stream: true, ...body })) {
    kinds.push(event.type);
  }
  return kinds;
}

const plain = await client.chat.completions.create({ model, messages });
const called = await client.chat.completions.create({ model, messages, tools });
const shaped = await client.chat.completions.create({
  model, messages, response_format: { type: "json_schema", json_schema: jsonSchema },
});
const [call] = called.choices[0].message.tool_calls;
const after = await client.chat.completions.create({
  model, tools,
  messages: [...messages, called.choices[0].message,
    { role: "tool", tool_call_id: call.id, content: "It was sent." }],
});
const responded = await client.responses.create({ model, input: messages[0].content });
const responseTools = [{ type: "function", name: "look_up", parameters, strict: true }];
const acted = await client.responses.create({ model, input: "hello", tools: responseTools });
const embedded = await client.embeddings.create({ model, input: ["one text", "one text"] });
const listed = [];
for await (const one of client.models.list()) listed.push(one.id);
const refused = await client.chat.completions.create({ model, messages: [] }).catch((e) => e);

console.log(JSON.stringify({
  plain: plain.choices[0].message.content,
  stream: await streamed({}),
  tool: [call.function.name, JSON.parse(call.function.arguments)],
  toolStream: await streamed({ tools }),
  afterTool: after.choices[0].message.content,
  shaped: JSON.parse(shaped.choices[0].message.content),
  responded: responded.output_text,
  acted: JSON.parse(acted.output[0].arguments),
  events: await events({ input: "hello" }),
  toolEvents: await events({ input: "hello", tools: responseTools }),
  embedded: embedded.data.map((row) => row.embedding.length),
  models: listed,
  refused: [refused.constructor.name, refused.status, refused.param],
}));
