import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;

/** Reads archives named on stdin, one a line, and prints a digest of names and contents, or "refused". */
public class ReadZips {
    public static void main(String[] args) throws Exception {
        BufferedReader names = new BufferedReader(new InputStreamReader(System.in));
        for (String name = names.readLine(); name != null; name = names.readLine()) {
            System.out.println(read(name));
        }
    }

    private static String read(String file) throws Exception {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        int entries = 0;
        try (ZipInputStream zip = new ZipInputStream(new FileInputStream(file))) {
            for (ZipEntry entry = zip.getNextEntry(); entry != null; entry = zip.getNextEntry()) {
                digest.update(entry.getName().getBytes("UTF-8"));
                digest.update((byte) 0);
                digest.update(zip.readAllBytes());
                digest.update((byte) 0);
                entries++;
            }
        } catch (Exception e) {
            return "refused";
        }
        return entries + " " + HexFormat.of().formatHex(digest.digest());
    }
}
