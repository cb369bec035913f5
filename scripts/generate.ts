// All that is generated, by one process: every `npm start` passes here.
import './generate-prisma.js';
import './generate-graphql.js';
import './generate-documents.js';
