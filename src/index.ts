export { ParleyError } from './errors.js';
export {
  WorkflowConversationManager,
  type WorkflowConversationManagerOptions,
  type YpWorkflowConversation,
} from './manager.js';
export type { WorkflowConversationConfiguration } from './services/workflow-conversations.js';
