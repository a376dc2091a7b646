-- Wireshark dissector for scalebed's internal frames: the shim (EtherType 0x88B5) and the control messages (UDP 8116).
--
--   tshark -X lua_script:docs/scalebed.lua -r lab.pcapng
--   wireshark -X lua_script:docs/scalebed.lua lab.pcapng
--
-- Layouts: wire/frame/src/shim.rs and wire/frame/src/control.rs. Control messages are postcard-encoded: unsigned numbers
-- of more than a byte are varints of 7 bits, low bits first; a variant is its number; an option is 0 or 1 and the value.

local shim = Proto("scalebed", "scalebed shim")
local control = Proto("scalebed_control", "scalebed control message")

local kinds = { [1] = "data", [2] = "correction", [3] = "handover", [4] = "control" }

local f = {
  version = ProtoField.uint8("scalebed.version", "Version", base.DEC, nil, 0xf0),
  kind = ProtoField.uint8("scalebed.kind", "Kind", base.DEC, kinds, 0x0f),
  network = ProtoField.uint8("scalebed.network", "Network"),
  group = ProtoField.uint8("scalebed.group", "Security Group"),
  to_uplink = ProtoField.bool("scalebed.to_uplink", "To an uplink", 8, nil, 0x01),
  detoured = ProtoField.bool("scalebed.detoured", "Detoured over the pair cable", 8, nil, 0x02),
  copy = ProtoField.bool("scalebed.copy", "Copy of a broadcast", 8, nil, 0x04),
  check = ProtoField.uint8("scalebed.check", "Check (modulo 31)", base.DEC, nil, 0xf8),
  generation = ProtoField.uint32("scalebed.generation", "Generation in which the bucket moved"),
  author = ProtoField.string("scalebed.author", "Author of that generation"),
  origin = ProtoField.string("scalebed.origin", "Origin"),
  incarnation = ProtoField.uint16("scalebed.incarnation", "Origin's incarnation (low 16 bits)"),
  ingress = ProtoField.uint8("scalebed.ingress", "Ingress orchestrator", base.DEC, nil, 0xf0),
  hop = ProtoField.uint8("scalebed.hop", "Corrections so far", base.DEC, nil, 0x0f),
  target = ProtoField.string("scalebed.target", "Target"),
  inner = ProtoField.uint16("scalebed.inner", "Inner EtherType", base.HEX),
}
shim.fields = f

-- One byte: 0 nobody, 1..127 members of site 1, 129..191 members of site 2, 193..255 orchestrators.
local function node(code)
  if code == 0 then return "nobody" end
  if code < 128 then return string.format("1_%02d", code) end
  if code < 192 then return string.format("2_%02d", code - 128) end
  return string.format("mho%d", code - 192)
end

local ethertypes = DissectorTable.get("ethertype")

function shim.dissector(tvb, pinfo, tree)
  -- The EtherType is gone already: byte 0 here is byte 2 of the layout.
  if tvb:len() < 16 then return 0 end
  local b = function(at) return tvb(at, 1):uint() end
  local kind = kinds[b(0) % 16]
  if math.floor(b(0) / 16) ~= 2 or kind == nil then return 0 end
  local t = tree:add(shim, tvb(0, 16), string.format("scalebed shim: %s from %s", kind, node(b(9))))
  t:add(f.version, tvb(0, 1))
  t:add(f.kind, tvb(0, 1))
  t:add(f.network, tvb(1, 1))
  t:add(f.group, tvb(2, 1))
  t:add(f.to_uplink, tvb(3, 1))
  t:add(f.detoured, tvb(3, 1))
  t:add(f.copy, tvb(3, 1))
  t:add(f.check, tvb(3, 1))
  t:add(f.generation, tvb(4, 4))
  t:add(f.author, tvb(8, 1), node(b(8)))
  t:add(f.origin, tvb(9, 1), node(b(9)))
  t:add(f.incarnation, tvb(10, 2))
  t:add(f.ingress, tvb(12, 1))
  t:add(f.hop, tvb(12, 1))
  t:add(f.target, tvb(13, 1), node(b(13)))
  t:add(f.inner, tvb(14, 2))
  ethertypes:try(tvb(14, 2):uint(), tvb(16):tvb(), pinfo, tree)
  pinfo.cols.info:prepend(string.format("[%s] ", kind))
  return tvb:len()
end
ethertypes:add(0x88b5, shim)

local bodies = {
  [0] = "Heartbeat", "Read", "ReadAnswer", "Prepare", "Ack", "Refuse", "Activate", "Join", "MoveComplete", "Sync",
}
local states = {
  [0] = "Absent", "Pending", "Cloning", "Syncing", "Ready", "Active", "Draining", "Down", "Lost",
}

local c = {
  id = ProtoField.uint32("scalebed_control.id", "Message id", base.HEX),
  part = ProtoField.uint8("scalebed_control.part", "Part (from 0)"),
  parts = ProtoField.uint8("scalebed_control.parts", "Parts"),
  from = ProtoField.string("scalebed_control.from", "From"),
  incarnation = ProtoField.uint32("scalebed_control.incarnation", "Incarnation"),
  to = ProtoField.string("scalebed_control.to", "To"),
  body = ProtoField.string("scalebed_control.body", "Message"),
  generation = ProtoField.string("scalebed_control.generation", "Generation"),
  sent = ProtoField.uint64("scalebed_control.sent", "Sent, ns of the sender's clock"),
  state = ProtoField.string("scalebed_control.state", "State"),
  reason = ProtoField.string("scalebed_control.reason", "Reason"),
  accepted = ProtoField.string("scalebed_control.accepted", "Accepted generation"),
  digest = ProtoField.uint64("scalebed_control.digest", "Digest of the accepted matrix", base.HEX),
  activated = ProtoField.string("scalebed_control.activated", "Activated generation"),
  admitted = ProtoField.string("scalebed_control.admitted", "Admitted"),
  smo = ProtoField.bool("scalebed_control.smo", "Holds the SMO (pivot) role"),
  heard = ProtoField.string("scalebed_control.heard", "Hears"),
  ports_down = ProtoField.uint8("scalebed_control.ports_down", "Data ports without carrier"),
}
control.fields = c

-- Reads postcard from a buffer, step by step.
local Reader = {}
Reader.__index = Reader

function Reader.new(tvb, at) return setmetatable({ tvb = tvb, at = at }, Reader) end

function Reader:byte()
  local value = self.tvb(self.at, 1):uint()
  self.at = self.at + 1
  return value
end

-- A number that may have all 64 bits.
function Reader:long()
  local value, shift = UInt64.new(0), 0
  while true do
    local byte = self:byte()
    value = value + UInt64.new(byte % 128):lshift(shift)
    if byte < 128 then return value end
    shift = shift + 7
  end
end

function Reader:number() return self:long():tonumber() end

function Reader:member()
  local site = self:byte()
  return string.format("%d_%02d", site, self:byte())
end

function Reader:node()
  if self:number() == 0 then return self:member() end
  return string.format("mho%d", self:byte())
end

function Reader:generation()
  local counter = self:number()
  local author = self:member()
  return string.format("%d.%s#%d", counter, author, self:number())
end

function Reader:text()
  local length = self:number()
  local text = length > 0 and self.tvb(self.at, length):string() or ""
  self.at = self.at + length
  return text
end

function Reader:list(item)
  local items = {}
  for _ = 1, self:number() do items[#items + 1] = item(self) end
  return table.concat(items, " ")
end

local function heartbeat(r, t)
  t:add(c.sent, r:long())
  t:add(c.heard, r:list(function(r)
    local who = r:node()
    r:number()
    r:long()
    return who
  end))
  local state = states[r:number()] or "?"
  t:add(c.state, state)
  if r:byte() == 1 then t:add(c.reason, r:text()) end
  r:long()
  t:add(c.accepted, r:generation())
  t:add(c.digest, r:long())
  t:add(c.activated, r:generation())
  t:add(c.admitted, r:list(function(r)
    local who = r:member()
    return string.format("%s#%d", who, r:number())
  end))
  local smo = r:byte() == 1
  t:add(c.smo, smo)
  r:list(function(r) return r:member() end)
  t:add(c.ports_down, r:byte())
  return state .. (smo and ", SMO" or "")
end

-- What follows the name of a message, for the packet list.
local details = {
  Heartbeat = heartbeat,
  Prepare = function(r) return r:generation() end,
}
for _, name in ipairs { "Read", "ReadAnswer", "Ack", "Refuse", "Activate", "MoveComplete" } do
  details[name] = function(r) return r:generation() end
end

function control.dissector(tvb, pinfo, tree)
  if tvb:len() < 7 then return 0 end
  local part, parts = tvb(4, 1):uint(), tvb(5, 1):uint()
  local t = tree:add(control, tvb(), "scalebed control message")
  t:add(c.id, tvb(0, 4))
  t:add(c.part, tvb(4, 1))
  t:add(c.parts, tvb(5, 1))
  pinfo.cols.protocol = "scalebed"
  if part > 0 then
    pinfo.cols.info = string.format("part %d of %d", part + 1, parts)
    return tvb:len()
  end
  local r = Reader.new(tvb, 6)
  local from = r:node()
  t:add(c.from, from)
  t:add(c.incarnation, r:number())
  local to = r:byte() == 1 and r:node() or "everybody"
  t:add(c.to, to)
  local body = bodies[r:number()] or "?"
  t:add(c.body, body)
  local detail = ""
  if details[body] then
    -- The end of a message may be in a later part.
    local read, what = pcall(details[body], r, t)
    detail = read and " " .. what or " (continues)"
    if read and body ~= "Heartbeat" then t:add(c.generation, what) end
  end
  pinfo.cols.info = string.format("%s > %s: %s%s", from, to, body, detail)
  return tvb:len()
end
-- Instead of Wireshark's dissector for the vendor's protocol of this port, whose messages ours are not.
DissectorTable.get("udp.port"):set(8116, control)
