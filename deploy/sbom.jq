# CycloneDX 1.5 of the binary: `cargo metadata` in, the crates that are linked into it out. Those of tests, of build scripts
# and of procedural macros are not in the binary, so not in here either.
#
#   cargo metadata --locked --format-version 1 --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" \
#     | jq -f deploy/sbom.jq > logstack.cdx.json

# A name and a version are one crate: deny.toml allows no other registry than crates.io.
def ref: "pkg:cargo/\(.name)@\(.version)";

# Ids of what `$start` is linked with, itself included.
def linked($edges; $start):
  { seen: {}, next: [$start] }
  | until(.next == [];
      .next as $new
      | .seen += ($new | map({ (.): true }) | add)
      | .seen as $seen
      | .next = ([$new[] | $edges[.][]] | unique | map(select($seen[.] | not))))
  | .seen;

(.packages | map({ (.id): . }) | add) as $packages
| (.resolve.nodes
   | map({ (.id): [.deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg
       | select(any($packages[.].targets[].kind[]; . == "proc-macro") | not)] }) | add) as $edges
| .resolve.root as $root
| linked($edges; $root) as $linked
| {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    version: 1,
    metadata: {
      component: ($packages[$root] | {
        type: "application", "bom-ref": ref, name, version, purl: ref,
        licenses: [{ expression: .license }],
      }),
    },
    components: [
      $linked | keys[] | select(. != $root) | $packages[.]
      | { type: "library", "bom-ref": ref, name, version, purl: ref }
        + (if .description then { description: (.description | gsub("\\s+"; " ")) } else {} end)
        # Old crates separate licences by a slash.
        + (if .license then { licenses: [{ expression: (.license | gsub(" ?/ ?"; " OR ")) }] } else {} end)
    ],
    dependencies: [
      $linked | keys[]
      | { ref: ($packages[.] | ref), dependsOn: [$edges[.][] | $packages[.] | ref] | unique }
    ],
  }
