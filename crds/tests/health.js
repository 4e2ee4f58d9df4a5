// Runs Argo CD's health scripts: standard input is [{script, object}], standard output [{status, message}].
// Only the base library is there, as in argocd-cm.
const { lua, lauxlib, lualib, to_luastring, to_jsstring } = require("fengari");

function literal(value) {
  if (value === null) return "nil";
  if (Array.isArray(value)) return "{" + value.map(literal).join(",") + "}";
  if (typeof value === "object") {
    return "{" + Object.entries(value).map(([key, item]) => `[${JSON.stringify(key)}]=${literal(item)}`).join(",") + "}";
  }
  return JSON.stringify(value);
}

function run({ script, object }) {
  const state = lauxlib.luaL_newstate();
  lauxlib.luaL_requiref(state, to_luastring("_G"), lualib.luaopen_base, 1);
  lua.lua_pop(state, 1);
  const text = `local obj = ${literal(object)}\n${script}`;
  if (lauxlib.luaL_loadstring(state, to_luastring(text)) || lua.lua_pcall(state, 0, 1, 0)) {
    return { status: "error", message: to_jsstring(lua.lua_tostring(state, -1)) };
  }
  const field = (name) => {
    lua.lua_getfield(state, -1, to_luastring(name));
    const found = lua.lua_isnil(state, -1) ? "" : to_jsstring(lua.lua_tostring(state, -1));
    lua.lua_pop(state, 1);
    return found;
  };
  return { status: field("status"), message: field("message") };
}

let text = "";
process.stdin.on("data", (chunk) => (text += chunk));
process.stdin.on("end", () => process.stdout.write(JSON.stringify(JSON.parse(text).map(run))));
