# The rules of provision.sh: what is wrong with a file, and the steps that make the gateway match it.
# Input of all but `tidy`: {wanted, providers, models, keys, kinds}, the file and what the gateway has.
# A step is {say, method, path} and, where something is sent, body.

def items($section): .wanted[$section] // [] | .[];
def named($list): .name as $name | $list | map(select(.name == $name)) | first;
def without_trailing_slash: if .base_url then .base_url |= sub("/+$"; "") else . end;

# ---- the file ----

# The gateway trims names, so an untrimmed one would never be found again.
def tidy:
  def trim: if type == "string" then sub("^\\s+"; "") | sub("\\s+$"; "") else . end;
  def trim_members: if type == "object" then with_entries(if .key | IN("name", "provider") then .value |= trim else . end) else . end;
  def trim_items: if type == "array" then map(trim_members) else . end;
  if type == "object" then map_values(trim_items) else . end;

def member_types: {
  providers: {name: "string", kind: "string", api_key: "any", base_url: "string", headers: "object", timeouts: "object", is_active: "boolean"},
  models: {name: "string", provider: "string", provider_model_name: "string", is_active: "boolean"},
  keys: {name: "string"}
};
def required_members: {providers: ["name", "kind"], models: ["name", "provider"], keys: ["name"]};

def is_key_source: type == "object" and length == 1 and ((.env // .file) | type == "string" and . != "");

def mistakes_of_item($section; $place):
  if type != "object" then "\($place) is not an object"
  else
    (keys[] | select(in(member_types[$section]) | not) | "\($place) has the unknown member \"\(.)\""),
    (required_members[$section][] as $member | select(has($member) | not) | "\($place) has no \($member)"),
    (to_entries[] | member_types[$section][.key] as $type
      | select($type and $type != "any" and (.value | type) != $type)
      | "\($place): \(.key) is not a \($type)"),
    (select(has("api_key")) | .api_key
      | select((type == "string" and . != "") or is_key_source | not)
      | "\($place): api_key is neither {\"env\": …} nor {\"file\": …} nor the key itself")
  end;

def mistakes_of_section($section):
  if type != "array" then "\"\($section)\" is not an array"
  else
    (to_entries[] | "\($section)[\(.key)]" as $place | .value | mistakes_of_item($section; $place)),
    (map(objects | .name | strings) | group_by(.)[] | select(length > 1) | "\($section) names \"\(.[0])\" twice")
  end;

# One line per mistake in the file itself.
def mistakes:
  .wanted
  | if type != "object" then "the file is not a JSON object"
    else
      (keys[] | select(in(member_types) | not) | "unknown section \"\(.)\""),
      ((member_types | keys[]) as $section | select(has($section)) | .[$section] | mistakes_of_section($section))
    end;

# Where provider keys are to be read from: index, source as read_secret takes it, and name.
def key_sources:
  [items("providers")] | to_entries[] | .key as $index | .value
  | .name as $name | .api_key | objects
  | "\($index)\t\(if .env then "env:\(.env)" else "@\(.file)" end)\t\($name)";

# One line per thing that neither the file nor the gateway has.
def missing_things:
  ([items("providers")] + .providers | map(.name)) as $provider_names
  | (items("models") | select(.provider | IN($provider_names[]) | not)
      | "model \"\(.name)\": there is no provider \"\(.provider)\""),
    ([.kinds[] | select(.api_key_required | not) | .name] as $keyless
      | .providers as $have | items("providers")
      | select((has("api_key") or named($have) or (.kind | IN($keyless[]))) | not)
      | "provider \"\(.name)\" is new and has no api_key");

# ---- steps ----

def create($what): {say: "create \($what) \(.name)", method: "POST", path: "/admin/\($what)s", body: .};

# Only the members that differ are sent.
def update($what; $have):
  with_entries(select(.value != $have[.key])) | select(length > 0)
  | {say: "update \($what) \($have.name): \(keys | join(", "))",
     method: "PUT", path: "/admin/\($what)s/\($have.id)", body: .};

def remove($word; $what): {say: "\($word) \($what) \(.name)", method: "DELETE", path: "/admin/\($what)s/\(.id)"};

# The gateway shows the first and last four characters of a stored key, and nothing of a short one.
def may_differ($preview):
  .[:4] as $first | .[-4:] as $last
  | length <= 12 or ($preview | (startswith($first) and endswith($last)) | not);

# A provider whose address changes is sent its key too: the gateway wants to be told that key again.
def moves_from($have):
  (has("base_url") and .base_url != ($have | without_trailing_slash).base_url)
  or (has("kind") and .kind != $have.kind);

def headers_may_differ($previews):
  with_entries(.key |= ascii_downcase)
  | keys != ($previews | keys)
    or any(to_entries[]; .key as $name | .value | type != "string" or may_differ($previews[$name]));

# Limits in milliseconds, since "60s" is shown as "1m"; what isn't one stays for the gateway to refuse.
def milliseconds:
  if type == "string" and test("^[0-9]+(ms|s|m|h)?$")
    then (sub("[a-z]*$"; "") | tonumber) * ({"": 1000, "ms": 1, "s": 1000, "m": 60000, "h": 3600000}[sub("^[0-9]*"; "")])
    else . end;
def limits: with_entries(select(.value != null) | .value |= milliseconds);

def update_provider($have; $send_keys):
  ($send_keys or moves_from($have)) as $send
  | if has("api_key") and ($send or (.api_key | may_differ($have.api_key_preview)))
    then . else del(.api_key) end
  | if has("headers") and ($send or (.headers | headers_may_differ($have.headers_preview)))
    then . else del(.headers) end
  | if has("timeouts") and (.timeouts | limits) == ($have.timeouts | limits) then del(.timeouts) else . end
  | update("provider"; $have | without_trailing_slash);

def provider_steps($send_keys):
  .providers as $have
  | items("providers") | without_trailing_slash
  | named($have) as $old
  | if $old then update_provider($old; $send_keys) else del(.is_active) | create("provider") end;

def model_steps:
  .providers as $providers | .models as $have
  | items("models")
  | .provider_id = ({name: .provider} | named($providers).id) | del(.provider)
  | named($have) as $old
  | if $old then update("model"; $old) else del(.is_active) | create("model") end;

# A thing is created active, so a new one that is to be inactive is changed afterwards.
def inactive_steps($what):
  .[$what + "s"] as $have
  | items($what + "s") | select(.is_active == false)
  | named($have) as $new
  | select($new) | {is_active} | update($what; $new);

def key_steps:
  (.keys | map(select(.is_active))) as $in_use
  | items("keys") | select(named($in_use) | not) | create("key");

# What the file doesn't name, where it has the section.
def surplus($section):
  .[$section] as $have
  | select(.wanted | has($section)) | .wanted[$section] as $wanted
  | $have[] | select(.is_active or $section != "keys") | select(named($wanted) | not);

# Models first: a provider that is in use can't be deleted. One that a model of the file names stays.
def prune_steps:
  [items("models").provider] as $needed
  | (surplus("models") | remove("delete"; "model")),
  (surplus("providers") | select(.name | IN($needed[]) | not) | remove("delete"; "provider")),
  (surplus("keys") | remove("revoke"; "key"));
