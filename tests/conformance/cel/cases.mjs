// Writes the specification's cases, one JSON object a line: {"id": "suite/section/test", "expr": …, "value": …, …} with the fields
// of cel.expr.conformance.test.SimpleTest in protobuf's JSON. A second case of one name in a section gets "#2", and so on.
import {tests} from '@bufbuild/cel-spec/testdata/conformance.js';

const seen = new Map();
const lines = [];

function walk(suite, path) {
  for (const {original} of suite.tests ?? []) {
    const name = [...path, original.name ?? original.expr].join('/');
    const count = (seen.get(name) ?? 0) + 1;
    seen.set(name, count);
    lines.push(JSON.stringify({...original, id: count === 1 ? name : `${name}#${count}`}));
  }
  for (const inner of suite.suites ?? []) {
    walk(inner, [...path, inner.name]);
  }
}

walk(tests, []);
process.stdout.write(lines.join('\n') + '\n');
