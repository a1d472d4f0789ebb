-- What an app says of itself for Capgo's console, as JSON; '' is nothing.
ALTER TABLE apps ADD COLUMN profile TEXT NOT NULL DEFAULT '';
