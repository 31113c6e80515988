"""The floor under the REST API: answers, errors, pages of lists.  Each app's ``api`` module holds its own doors."""
