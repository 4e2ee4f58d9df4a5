-- Plain comparisons only: in argocd-cm the standard libraries are off.
local hs = { status = "Progressing", message = "waiting for the operator" }
if obj.status == nil or obj.status.conditions == nil then
  return hs
end
if obj.status.observedGeneration ~= nil and obj.metadata.generation ~= nil
    and obj.status.observedGeneration ~= obj.metadata.generation then
  return hs
end
local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
local function is(kind, status)
  return found[kind] ~= nil and found[kind].status == status
end
local ready = found["Ready"]
if is("Stalled", "True") then
  return { status = "Degraded", message = found["Stalled"].message }
end
if is("Paused", "True") then
  return { status = "Suspended", message = "paused" }
end
if ready == nil then
  return hs
end
if ready.reason == "Hibernated" then
  return { status = "Suspended", message = ready.message }
end
if ready.status == "True" then
  hs = { status = "Healthy", message = ready.message }
  -- Still healthy: a warning about a full disk must not stop a sync.
  if is("Degraded", "True") then
    hs.message = found["Degraded"].message
  end
  return hs
end
local broken = ready.reason == "InvalidConfig" or ready.reason == "MissingReference" or ready.reason == "ReconcileFailed"
if found["Progressing"] ~= nil and found["Progressing"].reason == "ProgressDeadlineExceeded" then
  broken = true
end
for _, kind in ipairs({ "EngineReady", "CollectorReady" }) do
  local part = found[kind]
  if part ~= nil and part.status == "False"
      and (part.reason == "ImagePull" or part.reason == "CrashLoop" or part.reason == "PodSecurity") then
    return { status = "Degraded", message = part.message }
  end
end
hs.message = ready.message
if broken then
  hs.status = "Degraded"
end
return hs
