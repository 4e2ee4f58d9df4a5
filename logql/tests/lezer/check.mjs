// Parses every query of ../golden with Grafana's own grammar of LogQL, and compares its verdict with Loki's recorded one,
// which is ours (parse_golden.rs). Each disagreement must have a reason below; one without a reason fails the check.
//
//   npm install && npm run check

import { readFileSync } from 'node:fs';
import { parser } from '@grafana/lezer-logql';

/** Loki (and we) take these; the editor's grammar is behind Loki's. */
const TAKEN = [
  [/\) status<500$|namespace="bounds"$|retries>1 status>=500/, 'label filters with only a space between are joined by `and`'],
  [/^variants\(/, 'variants() is younger than the grammar'],
  [/^approx_topk\(/, 'approx_topk() is younger than the grammar'],
  [/\| duration="1" \| bytes="2"/, 'names of functions are identifiers where a label is expected'],
  [/^SUM\(COUNT_OVER_TIME/, "keywords of functions are read in any case"],
  [/foo>1_000$/, "underscores in numbers, as in Go"],
  [/^sum_over_time\(\(\{/, 'parentheses around the selector of a range'],
  [/\[1h\] offset 30m\)$/, 'offset behind the range of an unwrapped selector'],
];

/** Loki (and we) refuse these for what they mean; a grammar sees only how they are written. By error text. */
const REFUSED = [
  [/does not have an empty-compatible value|empty-compatible/, 'a selector that matches everything'],
  [/error parsing regexp|invalid named capture/, 'the regular expression is wrong'],
  [/^parse error : stage '/, 'the stage cannot be built from its text'],
  [/invalid (regexp|pattern) parser/, 'captures are missing, doubled or adjacent'],
  [/invalid char escape/, 'the grammar does not look into strings'],
  [/unexpected (by|or|without|on|ignoring|bool|and|unless|offset)\b/, 'keywords are no label names in Loki'],
  [/not a valid duration|unknown unit|missing unit|invalid duration/, 'the grammar takes any duration between brackets'],
  [/exponent requires|parse literal as a float/, 'the number has no value'],
  [/grouping not allowed|doesn't allow grouping/, 'the operation has no grouping'],
  [/without unwrap|with unwrap|parameter|unexpected type|unexpected literal/, 'operands of the wrong kind'],
];

const golden = (name) => readFileSync(new URL(`../golden/${name}`, import.meta.url), 'utf8').split('\n');

/** Every query once: its text, and Loki's error or ''. */
function queries() {
  const verdicts = new Map();
  const invalid = golden('invalid.txt').slice(1);
  for (let i = 0; i + 1 < invalid.length; i += 2) verdicts.set(invalid[i], invalid[i + 1].trim());
  for (const query of golden('valid.txt').slice(1)) if (query) verdicts.set(query, '');
  for (const line of golden('queries.jsonl')) {
    const record = line && JSON.parse(line);
    if (record && record.kind === 'query') verdicts.set(record.query, record.error ?? '');
  }
  return verdicts;
}

function isRefusedByGrammar(query) {
  let refused = false;
  parser.parse(query).iterate({ enter: (node) => { refused ||= node.type.isError; } });
  return refused;
}

const counts = { agreed: 0, explained: 0, unexplained: 0 };
for (const [query, error] of queries()) {
  const refused = isRefusedByGrammar(query);
  if (refused === (error !== '')) {
    counts.agreed += 1;
    continue;
  }
  const reason = (refused ? TAKEN : REFUSED).find(([pattern]) => pattern.test(refused ? query : error));
  counts[reason ? 'explained' : 'unexplained'] += 1;
  if (!reason) console.log(`${refused ? 'refused only by the grammar' : 'refused only by Loki'}: ${query}\n    ${error}`);
}
console.log(counts);
process.exitCode = counts.unexplained === 0 ? 0 : 1;
