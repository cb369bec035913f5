-- New messages wait on a list until they are put into the search index together, which the message that fills the list
-- does: with the usual 4 MB that takes it, and all others, up to a tenth of a second.
ALTER INDEX "conversation_message_tenant_id_search_idx" SET (gin_pending_list_limit = 512);
