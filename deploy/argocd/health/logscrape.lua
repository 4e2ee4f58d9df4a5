-- Plain comparisons only: in argocd-cm the standard libraries are off.
local hs = { status = "Progressing", message = "waiting for the operator" }
if obj.status == nil or obj.status.conditions == nil then
  return hs
end
if obj.status.observedGeneration ~= nil and obj.metadata.generation ~= nil
    and obj.status.observedGeneration ~= obj.metadata.generation then
  return hs
end
for _, condition in ipairs(obj.status.conditions) do
  if condition.type == "Accepted" and condition.status == "False" then
    if condition.reason == "Invalid" or condition.reason == "NotPermitted" or condition.reason == "TooLarge" then
      return { status = "Degraded", message = condition.message }
    end
    if condition.reason == "NotSelected" or condition.reason == "Suspended" then
      return { status = "Suspended", message = condition.message }
    end
  end
  if condition.type == "Ready" and condition.status == "True" then
    hs = { status = "Healthy", message = condition.message }
  end
end
return hs
