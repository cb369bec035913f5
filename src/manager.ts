import { tenantIdSchema } from './config.js';
import { type Database, openDatabase } from './database/client.js';
import { migrate } from './database/migrate.js';
import { type Hints, openHints } from './events/hints.js';
import { createLog } from './log.js';
import { type Actor, scopes } from './services/actor.js';
import { ensureTenant } from './services/api-keys.js';
import {
  connectToWorkflowConversation,
  createWorkflowConversation,
  getRunningWorkflowConversationsForUser,
  getWorkflowConversation,
  getWorkflowConversationsForUser,
  updateWorkflowConversation,
  type WorkflowConversation,
  type WorkflowConversationConfiguration,
} from './services/workflow-conversations.js';

/** A workflow conversation as the workflow-conversation model document describes it. */
export interface YpWorkflowConversation {
  readonly id: number;
  /** Threads of this workflow belong to the conversation. */
  readonly workflowId: string;
  readonly agentProductId: number | null;
  readonly userId: number | null;
  readonly configuration: WorkflowConversationConfiguration;
  readonly created_at: Date;
  readonly updated_at: Date;
}

export interface WorkflowConversationManagerOptions {
  /** A Postgres from 15; it is migrated on first use. */
  readonly databaseUrl: string;
  /** Whose conversations these are; made on first use if it does not exist. `default` unless given. */
  readonly tenantId?: string;
}

interface Connection {
  readonly database: Database;
  readonly hints: Hints;
}

const LOCK_TIMEOUT_MS = 15_000;
const CONNECTIONS = 5;

/**
 * The operations of the WorkflowConversationManager document for programs that run without a server. They are
 * the ones that the GraphQL API runs: what they change is in the tenant's log, and subscribers of servers on the
 * same database see it live.
 */
export class WorkflowConversationManager {
  readonly #options: WorkflowConversationManagerOptions;
  readonly #actor: Actor;
  #connection: Promise<Connection> | null = null;

  constructor(options: WorkflowConversationManagerOptions) {
    this.#options = options;
    this.#actor = {
      tenantId: tenantIdSchema.parse(options.tenantId ?? 'default'),
      keyId: '',
      userId: null,
      scopes: new Set(scopes),
      isOperator: false,
    };
  }

  /**
   * Creates a conversation.
   * @throws Error when the product does not exist or the data is invalid; its `details` name each member
   */
  async createWorkflowConversation(data: {
    agentProductId: number;
    userId?: number;
    configuration?: Record<string, unknown>;
    workflowId?: string;
  }): Promise<YpWorkflowConversation> {
    return toModel(await createWorkflowConversation(await this.#connect(), this.#actor, data));
  }

  /** The conversation, or null when there is none of this id. */
  async getWorkflowConversation(workflowConversationId: number): Promise<YpWorkflowConversation | null> {
    const found = await getWorkflowConversation(await this.#connect(), this.#actor, workflowConversationId);
    return found && toModel(found);
  }

  /**
   * Assigns `agentProductId`, `userId` and `configuration` as far as given; a configuration replaces the old.
   * @throws Error when the conversation does not exist, or when another member is named
   */
  async updateWorkflowConversation(
    workflowConversationId: number,
    updates: Record<string, unknown>,
  ): Promise<YpWorkflowConversation> {
    const connection = await this.#connect();
    return toModel(
      await updateWorkflowConversation(connection, this.#actor, workflowConversationId, updates),
    );
  }

  /**
   * Merges connection data into the configuration, atomically.
   * @throws Error when the conversation does not exist
   */
  async connectToWorkflowConversation(
    workflowConversationId: number,
    connectionData: Record<string, unknown>,
  ): Promise<YpWorkflowConversation> {
    const connection = await this.#connect();
    return toModel(
      await connectToWorkflowConversation(connection, this.#actor, workflowConversationId, connectionData),
    );
  }

  /** All conversations of a user, newest first. */
  async getWorkflowConversationsForUser(userId: number): Promise<YpWorkflowConversation[]> {
    return (await getWorkflowConversationsForUser(await this.#connect(), this.#actor, userId)).map(toModel);
  }

  /** The conversations of a user whose `configuration.running` is `true`, newest first. */
  async getRunningWorkflowConversationsForUser(userId: number): Promise<YpWorkflowConversation[]> {
    return (await getRunningWorkflowConversationsForUser(await this.#connect(), this.#actor, userId)).map(
      toModel,
    );
  }

  /** Closes the connections; the next operation would open them again. */
  async close(): Promise<void> {
    const connection = await this.#connection;
    this.#connection = null;
    await connection?.hints.close();
    await connection?.database.$disconnect();
  }

  #connect(): Promise<Connection> {
    this.#connection ??= this.#open().catch((error: unknown) => {
      this.#connection = null;
      throw error;
    });
    return this.#connection;
  }

  async #open(): Promise<Connection> {
    const { databaseUrl: connectionString } = this.#options;
    await migrate(connectionString);
    const log = createLog('warn');
    const database = await openDatabase({
      connectionString,
      maxConnections: CONNECTIONS,
      lockTimeoutMs: LOCK_TIMEOUT_MS,
      onError: (error) => log.warn({ err: error }, 'a database connection broke'),
    });
    await ensureTenant(database, this.#actor.tenantId);
    return { database, hints: openHints(connectionString, log) };
  }
}

const toModel = (row: WorkflowConversation): YpWorkflowConversation => ({
  id: row.id,
  workflowId: row.workflowId,
  agentProductId: row.agentProductId,
  userId: row.userId,
  configuration: row.configuration as WorkflowConversationConfiguration,
  created_at: row.createdAt,
  updated_at: row.updatedAt,
});
