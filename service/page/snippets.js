/** A request as code that runs: curl, Python (httpx), JavaScript (Node). */

import { key } from "./api.js";

export const LANGUAGES = { curl, Python: python, JavaScript: javascript };

const addressOf = ({ path, query }) => new URL(path, document.baseURI).href + (query ? `?${new URLSearchParams(query)}` : "");

const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** JSON's literals are Python's, but for three words that no request here has unquoted, except null. */
const literal = (value) => JSON.stringify(value).replaceAll(/\bnull\b(?=[,}\]])/g, "None");

const filesOf = (form) => form.filter(([, value]) => value.filename);
const textsOf = (form) => form.filter(([, value]) => !value.filename);

function curl(request) {
  const { method, json, form, as } = request;
  const parts = [shell(addressOf(request))];
  if (method !== "GET" && !form) parts.unshift(`-X ${method}`);
  if (key.value) parts.push('-H "Authorization: Bearer $KSHOT_KEY"');
  if (json) parts.push("-H 'Content-Type: application/json'", `-d ${shell(JSON.stringify(json))}`);
  for (const [name, { filename }] of filesOf(form ?? [])) parts.push(`-F ${shell(`${name}=@${filename}`)}`);
  for (const [name, text] of textsOf(form ?? [])) parts.push(`--form-string ${shell(`${name}=${text}`)}`);
  if (as === "blob") parts.push("-OJ");
  return `curl ${parts.join(" \\\n  ")}\n`;
}

function python(request) {
  const { method, json, form, as } = request;
  const lines = [...(key.value ? ["import os", ""] : []), "import httpx", ""];
  const given = [];
  if (key.value) given.push('headers={"Authorization": f"Bearer {os.environ[\'KSHOT_KEY\']}"}');
  if (json) given.push(`json=${literal(json)}`);
  if (form) {
    const files = filesOf(form);
    const field = files[0][0];
    lines.push(`names = ${list(files.map(([, { filename }]) => filename))}`);
    given.push(`files=[(${literal(field)}, open(name, "rb")) for name in names]`);
    const texts = textsOf(form);
    if (texts.length) given.push(`data={${texts.map(([name, text]) => `${literal(name)}: ${literal(text)}`).join(", ")}}`);
  }
  given.push("timeout=60");
  const inner = [literal(addressOf(request)), ...given].map((each) => `    ${each},\n`).join("");
  lines.push(`answer = httpx.${method.toLowerCase()}(\n${inner})`, "answer.raise_for_status()");
  if (as === "blob") lines.push(`open("classifier.${request.query.format}", "wb").write(answer.content)`);
  else if (method !== "DELETE") lines.push("print(answer.json())");
  return `${lines.join("\n")}\n`;
}

function list(names) {
  const short = literal(names);
  return short.length < 90 ? short : `[\n${names.map((name) => `    ${literal(name)},\n`).join("")}]`;
}

function javascript(request) {
  const { method, json, form, as } = request;
  const lines = [];
  const options = [];
  if (method !== "GET") options.push(`method: "${method}"`);
  const headers = [];
  if (key.value) headers.push("Authorization: `Bearer ${process.env.KSHOT_KEY}`");
  if (json) headers.push('"Content-Type": "application/json"');
  if (headers.length) options.push(`headers: { ${headers.join(", ")} }`);
  if (form || as) lines.push(`import { ${form ? "openAsBlob" : "writeFileSync"} } from "node:fs";`, "");
  if (json) options.push(`body: JSON.stringify(${JSON.stringify(json)})`);
  if (form) {
    const files = filesOf(form);
    lines.push("const body = new FormData();");
    lines.push(`for (const name of ${list(files.map(([, { filename }]) => filename)).replaceAll("    ", "  ")}) {`);
    lines.push(`  body.append("${files[0][0]}", await openAsBlob(name), name);`, "}");
    for (const [name, text] of textsOf(form)) lines.push(`body.append(${JSON.stringify(name)}, ${JSON.stringify(text)});`);
    options.push("body");
  }
  const more = options.length ? `, {\n${options.map((each) => `  ${each},\n`).join("")}}` : "";
  lines.push("", `const answer = await fetch(${JSON.stringify(addressOf(request))}${more});`);
  lines.push("if (!answer.ok) throw new Error((await answer.json()).detail);");
  if (as === "blob") lines.push(`writeFileSync("classifier.${request.query.format}", Buffer.from(await answer.arrayBuffer()));`);
  else if (method !== "DELETE") lines.push("console.log(await answer.json());");
  return `${lines.join("\n").trimStart()}\n`;
}
