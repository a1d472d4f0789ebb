-- A row that changes by any hand makes the app's snapshot stale, and the audit
-- cannot be rewritten.
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER apps_moved AFTER UPDATE OF public_key, expose_metadata, allow_device_custom_id ON apps
  WHEN NEW.revision = OLD.revision BEGIN UPDATE apps SET revision = revision + 1 WHERE app_id = NEW.app_id; END;
CREATE TRIGGER bundles_added AFTER INSERT ON bundles BEGIN UPDATE apps SET revision = revision + 1 WHERE app_id = NEW.app_id; END;
CREATE TRIGGER bundles_moved AFTER UPDATE ON bundles BEGIN UPDATE apps SET revision = revision + 1 WHERE app_id IN (NEW.app_id, OLD.app_id); END;
CREATE TRIGGER bundles_gone AFTER DELETE ON bundles BEGIN UPDATE apps SET revision = revision + 1 WHERE app_id = OLD.app_id; END;
CREATE TRIGGER channels_added AFTER INSERT ON channels BEGIN UPDATE apps SET revision = revision + 1 WHERE app_id = NEW.app_id; END;
CREATE TRIGGER channels_moved AFTER UPDATE ON channels BEGIN UPDATE apps SET revision = revision + 1 WHERE app_id IN (NEW.app_id, OLD.app_id); END;
CREATE TRIGGER channels_gone AFTER DELETE ON channels BEGIN UPDATE apps SET revision = revision + 1 WHERE app_id = OLD.app_id; END;
CREATE TRIGGER overrides_added AFTER INSERT ON overrides BEGIN UPDATE apps SET revision = revision + 1 WHERE app_id = NEW.app_id; END;
CREATE TRIGGER overrides_moved AFTER UPDATE ON overrides BEGIN UPDATE apps SET revision = revision + 1 WHERE app_id = NEW.app_id; END;
CREATE TRIGGER overrides_gone AFTER DELETE ON overrides BEGIN UPDATE apps SET revision = revision + 1 WHERE app_id = OLD.app_id; END;
CREATE TRIGGER self_set_added AFTER INSERT ON self_set BEGIN UPDATE apps SET revision = revision + 1 WHERE app_id = NEW.app_id; END;
CREATE TRIGGER self_set_moved AFTER UPDATE ON self_set BEGIN UPDATE apps SET revision = revision + 1 WHERE app_id = NEW.app_id; END;
CREATE TRIGGER self_set_gone AFTER DELETE ON self_set BEGIN UPDATE apps SET revision = revision + 1 WHERE app_id = OLD.app_id; END;
