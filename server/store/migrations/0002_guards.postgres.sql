-- A row that changes by any hand makes the app's snapshot stale and tells the
-- other nodes, and the audit cannot be rewritten.
CREATE FUNCTION capstan_audit_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'audit is append-only'; END $$;
CREATE TRIGGER audit_guard BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION capstan_audit_guard();
CREATE TRIGGER audit_guard_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION capstan_audit_guard();

CREATE FUNCTION capstan_app_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.revision = OLD.revision AND (NEW.public_key, NEW.expose_metadata, NEW.allow_device_custom_id)
     IS DISTINCT FROM (OLD.public_key, OLD.expose_metadata, OLD.allow_device_custom_id) THEN
    NEW.revision := OLD.revision + 1;
  END IF;
  IF NEW.revision <> OLD.revision THEN PERFORM pg_notify('capstan_app', NEW.app_id); END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER apps_moved BEFORE UPDATE ON apps FOR EACH ROW EXECUTE FUNCTION capstan_app_moved();
CREATE FUNCTION capstan_app_listed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('capstan_app', COALESCE(NEW.app_id, OLD.app_id));
  RETURN NULL;
END $$;
CREATE TRIGGER apps_listed AFTER INSERT OR DELETE ON apps FOR EACH ROW EXECUTE FUNCTION capstan_app_listed();

CREATE FUNCTION capstan_part_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN UPDATE apps SET revision = revision + 1 WHERE app_id = OLD.app_id; END IF;
  IF TG_OP <> 'DELETE' AND (TG_OP = 'INSERT' OR NEW.app_id <> OLD.app_id) THEN
    UPDATE apps SET revision = revision + 1 WHERE app_id = NEW.app_id;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER bundles_moved AFTER INSERT OR UPDATE OR DELETE ON bundles FOR EACH ROW EXECUTE FUNCTION capstan_part_moved();
CREATE TRIGGER channels_moved AFTER INSERT OR UPDATE OR DELETE ON channels FOR EACH ROW EXECUTE FUNCTION capstan_part_moved();
CREATE TRIGGER overrides_moved AFTER INSERT OR UPDATE OR DELETE ON overrides FOR EACH ROW EXECUTE FUNCTION capstan_part_moved();
CREATE TRIGGER self_set_moved AFTER INSERT OR UPDATE OR DELETE ON self_set FOR EACH ROW EXECUTE FUNCTION capstan_part_moved();
