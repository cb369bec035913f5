/**
 * How generated/documents.ts is made of operations.graphql. In a project of your own the GraphQL Code Generator
 * takes this file as it is; here `npm run generate` does the same.
 */
export default {
  schema: '../../schema.graphql',
  documents: 'operations.graphql',
  generates: {
    'generated/documents.ts': {
      plugins: ['typescript-operations', 'typed-document-node'],
      config: {
        // Documents are texts, so the browser does not load a GraphQL parser.
        documentMode: 'string',
        useTypeImports: true,
        immutableTypes: true,
        scalars: {
          ID: 'string',
          DateTime: 'string',
          JSONObject: 'Record<string, unknown>',
          SafeInt: 'number',
        },
      },
    },
  },
};
