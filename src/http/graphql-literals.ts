import { type ASTNode, BREAK, type DocumentNode, Kind, visit } from 'graphql';
import type { ErrorDetail } from '../errors.js';
import { formatPath } from '../services/input.js';

const MAX_ISSUE_LENGTH = 300;
const ABSENT_ARGUMENT = /^Field "\w+" argument "(\w+)" of type "[^"]*" is required/;
const ABSENT_MEMBER = /^Field "\w+\.(\w+)" of required type "[^"]*" was not provided/;

/** Where in a field's arguments a fault of validation lies, as for variables; null when it lies elsewhere. */
export function detailOf(
  document: DocumentNode,
  message: string,
  node: ASTNode | undefined,
): ErrorDetail | null {
  const absent = ABSENT_ARGUMENT.exec(message)?.[1];
  if (absent) return { field: absent, issue: 'is required' };
  const path = node && argumentPath(document, node);
  if (!path) return null;
  const member = ABSENT_MEMBER.exec(message)?.[1];
  if (member) path.push(member);
  const field = formatPath(path[0] === 'input' && path.length > 1 ? path.slice(1) : path);
  return { field, issue: member ? 'is required' : message.slice(0, MAX_ISSUE_LENGTH) };
}

/** The way from an argument down to a node in its value: `['input', 'events', 0]`. */
function argumentPath(document: DocumentNode, target: ASTNode): (string | number)[] | null {
  let found: (string | number)[] | null = null;
  visit(document, {
    enter(node, _key, _parent, path) {
      if (node !== target) return undefined;
      found = namesAlong(document, path);
      return BREAK;
    },
  });
  return found;
}

function namesAlong(document: DocumentNode, path: readonly (string | number)[]): (string | number)[] | null {
  let names: (string | number)[] | null = null;
  let here: unknown = document;
  for (const [index, key] of path.entries()) {
    here = (here as Record<string | number, unknown>)[key];
    const node = here as ASTNode;
    if (node.kind === Kind.ARGUMENT) names = [node.name.value];
    else if (node.kind === Kind.OBJECT_FIELD) names?.push(node.name.value);
    else if (path[index - 1] === 'values') names?.push(key);
  }
  return names;
}
