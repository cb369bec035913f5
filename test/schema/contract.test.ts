import { readFileSync } from 'node:fs';
import { CriticalityLevel, diff } from '@graphql-inspector/core';
import { buildSchema, isIntrospectionType, isSpecifiedDirective, isSpecifiedScalarType } from 'graphql';
import { describe, expect, it } from 'vitest';
import { createSchema } from '../../src/resolvers/schema.js';

const contract = buildSchema(readFileSync(new URL('../fixtures/contract.graphql', import.meta.url), 'utf8'));
const product = createSchema();

describe('the GraphQL schema', () => {
  it('breaks nothing of the contract that callers rely on', async () => {
    const changes = await diff(contract, product);
    const breaking = changes.filter(({ criticality }) => criticality.level === CriticalityLevel.Breaking);
    expect(breaking.map(({ path, message }) => `${path}: ${message}`)).toEqual([]);
  });

  it('describes every type, field, argument, input field and enum value', () => {
    const undescribed: string[] = [];
    const check = (name: string, element: { description?: string | null | undefined }) => {
      if (!element.description?.trim()) undescribed.push(name);
    };
    for (const type of Object.values(product.getTypeMap())) {
      if (isIntrospectionType(type) || isSpecifiedScalarType(type)) continue;
      check(type.name, type);
      if ('getValues' in type)
        for (const value of type.getValues()) check(`${type.name}.${value.name}`, value);
      if (!('getFields' in type)) continue;
      for (const field of Object.values(type.getFields())) {
        check(`${type.name}.${field.name}`, field);
        if ('args' in field)
          for (const arg of field.args) check(`${type.name}.${field.name}(${arg.name})`, arg);
      }
    }
    for (const directive of product.getDirectives()) {
      if (!isSpecifiedDirective(directive)) check(`@${directive.name}`, directive);
    }
    expect(undescribed).toEqual([]);
  });
});
